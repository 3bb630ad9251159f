"""Milliseconds per stage of a segmentation."""

from __future__ import annotations

import time
from collections.abc import Mapping

STAGES = ("read", "prepare", "encode", "decode", "restore")


class Stopwatch:
    """Sums milliseconds by stage, `timings_ms`: all of `STAGES`, 0.0 for one that does not run."""

    def __init__(self, read_ms: float = 0.0) -> None:
        self.timings_ms = dict.fromkeys(STAGES, 0.0) | {"read": read_ms}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to `stage`."""
        now = time.perf_counter()
        self.timings_ms[stage] += (now - self._last) * 1e3
        self._last = now

    def add(self, timings_ms: Mapping[str, float]) -> None:
        """Add what another stopwatch measured."""
        for stage, ms in timings_ms.items():
            self.timings_ms[stage] += ms
        self._last = time.perf_counter()
