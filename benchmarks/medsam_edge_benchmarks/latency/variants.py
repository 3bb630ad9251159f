"""What is measured: one variant runs a case from its file to a written mask and says how long each stage took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2

from medsam_edge import Segmenter
from medsam_edge_benchmarks.latency.cases.cases import DrawnCase

STAGES = ("read", "prepare", "encode", "decode", "restore", "write")
TOTAL = "total"

OURS = "medsam-edge"
BASELINE = "lite_medsam"
"""The challenge's baseline: every ratio is of its seconds to the others'."""
BASELINES = {
    BASELINE: (BASELINE, False),
    "rep_medsam": ("rep_medsam", False),
    "rep_medsam, fused": ("rep_medsam", True),
}
"""The published systems: the network's name, and whether its branches are fused."""


@dataclass(frozen=True)
class Run:
    """One pass over a case."""

    seconds: Mapping[str, float]  # by stage
    total: float  # wall-clock seconds; stages that overlap or are not listed make it differ from their sum
    scaled_from: str | None = None  # what was measured, where seconds are scaled up from a part of the case
    scaled: frozenset[str] = frozenset()  # the stages whose seconds are, `total` among them


class Variant(Protocol):
    def run(self, drawn: DrawnCase, output: Path) -> Run:
        """Segment a drawn case into `output` (npz)."""
        ...


class Stopwatch:
    """Seconds since the last lap, summed by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


class Ours:
    """medsam-edge as a user calls it, with a bundle or the packaged one: a file and boxes in, a written mask out."""

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
        return Run({**seconds, "write": watch.seconds["write"]}, sum(watch.seconds.values()))
