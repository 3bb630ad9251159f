"""medsam-edge as a user calls it: a file and boxes in, a written mask out."""

from __future__ import annotations

from pathlib import Path

import cv2

from medsam_edge import Segmenter
from medsam_edge_benchmarks.latency.cases.drawn import DrawnCase
from medsam_edge_benchmarks.latency.variants import STAGES, Run, Stopwatch


class Ours:
    """The runtime with a bundle.

    Args:
        bundle: folder of a converted model; None for the packaged one.
        cache_dir: folder for compiled models.

    Raises:
        BundleError: see `Segmenter`.
    """

    def __init__(self, bundle: Path | None, threads: int, cache_dir: Path | None = None) -> None:
        cv2.setNumThreads(threads)
        self.model = Segmenter(bundle, num_threads=threads, cache_dir=cache_dir).model

    def run(self, drawn: DrawnCase, output: Path) -> Run:
        segmenter = Segmenter(self.model)  # with no embedding kept from the round before
        watch = Stopwatch()
        result = segmenter.segment(drawn.file, drawn.boxes, drawn.modality)
        watch.lap("segment")
        result.save(output)
        watch.lap("write")
        seconds = {stage: result.timings_ms[stage] / 1e3 for stage in STAGES if stage != "write"}
        return Run({**seconds, "write": watch.seconds["write"]}, watch.total)
