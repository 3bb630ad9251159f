"""From runs to figures: percentiles over rounds, ratios to the baseline, throughput. These are what is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medsam_edge_benchmarks.latency.cases.cases import LatencyCase
from medsam_edge_benchmarks.latency.runs.roofline import Roofline
from medsam_edge_benchmarks.latency.variants import BASELINE, TOTAL, Run

SCHEMA = "medsam-edge bench latency 1"
COLD_START = "cold start"


@dataclass(frozen=True)
class Spread:
    """Seconds over the rounds: median, 90th and 99th percentile."""

    p50: float
    p90: float
    p99: float
    ratio: float | None  # the baseline's median to this one; None where the baseline has none
    scaled: bool  # the seconds are scaled up by count from a part of the case
    ratio_scaled: bool  # these seconds or the baseline's are


@dataclass(frozen=True)
class Figures:
    """One variant on one case. A volume's boxes are counted once per object and slice."""

    stages: Mapping[str, Spread]  # by name, `total` among them
    rounds: int
    slices_per_s: float  # slices that any box spans, per second of the median total
    boxes_per_s: float  # boxes decoded, per second of the median total
    scaled_from: str | None = None  # what was measured, where seconds are scaled up by count
    peak_mb: float | None = None  # largest resident memory of a process that does only this; None where not measured
    peak_ratio: float | None = None  # the baseline's to this

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

    @property
    def named(self) -> list[tuple[str, Mapping[str, Figures]]]:
        """The variants of each case by its name, and those of the cold start."""
        return [*((own.case.name, own.variants) for own in self.cases), (COLD_START, self.cold_start)]


def summarize(
    runs: Mapping[str, Sequence[Run]], slices: int, masks: int, peaks: Mapping[str, float | None]
) -> dict[str, Figures]:
    """Figures of each variant from its runs of the same rounds; variants without runs are left out.

    `peaks` are megabytes by variant; one that is missing was not measured.
    """
    samples = {
        name: {TOTAL: [run.total for run in own]}
        | {stage: [run.seconds[stage] for run in own] for stage in own[0].seconds}
        for name, own in runs.items()
        if own
    }
    medians = {stage: float(np.median(values)) for stage, values in samples.get(BASELINE, {}).items()}
    base_scaled, base_peak = runs[BASELINE][0].scaled if medians else frozenset(), peaks.get(BASELINE)
    figures = {}
    for name, stages in samples.items():
        first, spreads, peak = runs[name][0], {}, peaks.get(name)
        for stage, values in stages.items():
            p50, p90, p99 = np.percentile(values, (50, 90, 99)).tolist()
            ratio = medians[stage] / p50 if medians.get(stage) and p50 else None
            scaled = stage in first.scaled
            spreads[stage] = Spread(p50, p90, p99, ratio, scaled, scaled or stage in base_scaled)
        median, peak_ratio = spreads[TOTAL].p50, base_peak / peak if base_peak and peak else None
        rates = (slices / median, masks / median)
        figures[name] = Figures(spreads, len(runs[name]), *rates, first.scaled_from, peak, peak_ratio)
    return figures
