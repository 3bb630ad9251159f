"""Objects that were followed along all three axes: a voxel is an object's if two of the three masks have it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medsam_edge.inference.sweeps import Track
from medsam_edge.results.mask import CroppedMask, cropped

NEEDED = 2


def agree(ways: Sequence[Track]) -> None:
    """Change the masks of an object's way along axis 0, on the slices where it was looked for, to what is agreed on.

    Logits and scores stay those of that way.

    Args:
        ways: of one object along the axes 0, 1 and 2.
    """
    found = [(axis, z, mask) for axis, way in enumerate(ways) for z, mask in way.masks.items() if not mask.empty]
    spans = np.array([_bounds(*own) for own in found], dtype=np.int64).reshape(-1, 3, 2)
    low = spans[:, :, 0].min(axis=0, initial=np.iinfo(np.int64).max)
    high = spans[:, :, 1].max(axis=0, initial=0)
    votes = np.zeros(np.maximum(high - low, 0), dtype=np.uint8)  # of the part of the volume where any mask is
    for axis, z, mask in found:
        top, left = np.delete(low, axis)
        planes = np.moveaxis(votes, axis, 0)
        planes[z - low[axis]][mask.moved(-top, -left).where] += mask.pixels
    axial = ways[0]
    for z in axial.masks:
        inside = low[0] <= z < high[0]
        plane: npt.NDArray[np.bool_] = votes[z - low[0]] >= NEEDED if inside else np.zeros((0, 0), dtype=bool)
        axial.masks[z] = cropped(plane).moved(int(low[1]), int(low[2]))


def _bounds(axis: int, z: int, mask: CroppedMask) -> list[tuple[int, int]]:
    """First and last + 1 voxel of a slice's mask along each array axis."""
    bounds = [(part.start, part.stop) for part in mask.where]
    bounds.insert(axis, (z, z + 1))
    return bounds
