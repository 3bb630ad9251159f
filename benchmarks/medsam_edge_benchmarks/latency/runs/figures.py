"""From runs to figures: percentiles over rounds, ratios to the baseline, throughput. These are what is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medsam_edge_benchmarks.latency.cases.papers import LatencyCase
from medsam_edge_benchmarks.latency.runs.roofline import Roofline
from medsam_edge_benchmarks.latency.variants import BASELINE, TOTAL, Run

SCHEMA = "medsam-edge bench latency 1"


@dataclass(frozen=True)
class Spread:
    """Seconds over the rounds: median, 90th and 99th percentile.

    Attributes:
        ratio: the baseline's median to this one; None where the baseline has none.
        scaled: whether the seconds are scaled up by count from a part of the case.
        ratio_scaled: whether these seconds or the baseline's are.
    """

    p50: float
    p90: float
    p99: float
    ratio: float | None
    scaled: bool
    ratio_scaled: bool


@dataclass(frozen=True)
class Figures:
    """One variant on one case.

    Attributes:
        stages: by name, `total` among them.
        slices_per_s: slices that any box spans, per second of the median total.
        boxes_per_s: boxes decoded (in a volume: one per object and slice), per second of the median total.
        scaled_from: what was measured, where seconds are scaled up by count; None where nothing is.
        peak_mb: largest resident memory of a process that does only this; None where not measured.
        peak_ratio: the baseline's to this.
    """

    stages: Mapping[str, Spread]
    rounds: int
    slices_per_s: float
    boxes_per_s: float
    scaled_from: str | None = None
    peak_mb: float | None = None
    peak_ratio: float | None = None

    @property
    def total(self) -> Spread:
        return self.stages[TOTAL]


@dataclass(frozen=True)
class CaseFigures:
    """Every variant on one case; `slices` and `masks` are the work in it, see `DrawnCase`."""

    case: LatencyCase
    slices: int
    masks: int
    variants: Mapping[str, Figures]


@dataclass
class LatencyReport:
    """A whole run of the suite; `complete` is set when nothing is left to measure."""

    settings: Mapping[str, Any]
    machine: Mapping[str, str]
    notes: Sequence[str]
    schema: str = SCHEMA
    complete: bool = False
    cases: list[CaseFigures] = field(default_factory=list)
    cold_start: Mapping[str, Figures] = field(default_factory=dict)
    roofline: Roofline | None = None


def summarize(
    runs: Mapping[str, Sequence[Run]], slices: int, masks: int, peaks: Mapping[str, float | None]
) -> dict[str, Figures]:
    """Figures of each variant from its runs of the same rounds; variants without runs are left out.

    Args:
        peaks: megabytes by variant; a variant that is missing was not measured.
    """
    samples = {
        name: {
            TOTAL: [run.total for run in own],
            **{stage: [run.seconds[stage] for run in own] for stage in own[0].seconds},
        }
        for name, own in runs.items()
        if own
    }
    medians = {stage: float(np.median(values)) for stage, values in samples.get(BASELINE, {}).items()}
    base_scaled = runs[BASELINE][0].scaled if medians else frozenset()
    figures = {}
    for name, stages in samples.items():
        scaled = runs[name][0].scaled
        spreads = {
            stage: _spread(values, medians.get(stage), stage in scaled, stage in base_scaled)
            for stage, values in stages.items()
        }
        median, peak, base = spreads[TOTAL].p50, peaks.get(name), peaks.get(BASELINE)
        figures[name] = Figures(
            spreads,
            len(runs[name]),
            slices / median,
            masks / median,
            runs[name][0].scaled_from,
            peak,
            base / peak if base and peak else None,
        )
    return figures


def _spread(values: Sequence[float], baseline: float | None, scaled: bool, base_scaled: bool) -> Spread:
    p50, p90, p99 = (float(value) for value in np.percentile(values, (50, 90, 99)))
    return Spread(p50, p90, p99, baseline / p50 if baseline and p50 else None, scaled, scaled or base_scaled)
