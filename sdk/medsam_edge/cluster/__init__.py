"""Many images on one machine or several, by Ray (the extra `ray`)."""

from medsam_edge.cluster.run import Summary, segment_table

__all__ = ["Summary", "segment_table"]
