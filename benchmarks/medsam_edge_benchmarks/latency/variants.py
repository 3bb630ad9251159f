"""What is measured: one variant runs a case from its file to a written mask and says how long each stage took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medsam_edge_benchmarks.latency.cases.drawn import DrawnCase

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
    """One pass over a case.

    Attributes:
        seconds: by stage.
        total: wall-clock seconds of the pass, which stages that overlap or are not listed make differ from their sum.
        scaled_from: what was measured, where seconds are scaled up from a part of the case; None where nothing is.
        scaled: the stages whose seconds are, `total` among them.
    """

    seconds: Mapping[str, float]
    total: float
    scaled_from: str | None = None
    scaled: frozenset[str] = frozenset()


class Variant(Protocol):
    def run(self, drawn: DrawnCase, output: Path) -> Run:
        """Segment a drawn case into `output` (npz)."""
        ...


class Stopwatch:
    """Seconds since the last lap, summed by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.start = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        return self._last - self.start
