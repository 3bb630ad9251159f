"""`medsam-edge bench latency` and `medsam-edge bench compare`: their options, and where their figures go."""

from __future__ import annotations

import tempfile
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

from medsam_edge_benchmarks.latency.output import compare, text
from medsam_edge_benchmarks.latency.output.files import write_csv, write_latency_page
from medsam_edge_benchmarks.latency.runs.figures import LatencyReport
from medsam_edge_benchmarks.latency.runs.run import QUICK, LatencyPlan, measure_latency, steps
from medsam_edge_benchmarks.report.output import SuiteConfig, console, write_json
from medsam_edge_train.progress import show_progress

PRESETS = {"quick": QUICK}


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(LatencyPlan, SuiteConfig):
    """Settings of `bench latency`.

    Attributes:
        csv: file to write the figures to, one a row.
        html: page with pictures to write, complete in itself.
    """

    csv: Path | None = None
    html: Path | None = None


@dataclass(frozen=True)
class CompareConfig:
    """Settings of `bench compare`. The first two have their place, so that it cannot be a `SuiteConfig`.

    Attributes:
        before: JSON file of one run.
        after: JSON file of another.
        tolerance: percent; slower by more is a regression.
        json: file to write the figures to.
    """

    before: Path
    after: Path
    _: KW_ONLY
    tolerance: float = 10.0
    json: Path | None = None


def bench_latency(settings: LatencyConfig) -> dict[str, Any]:
    """Measure, and show and write the figures."""
    kept: list[LatencyReport] = []

    def save(report: LatencyReport) -> None:
        kept[:] = [report]
        if settings.json:
            write_json(settings.json, asdict(report))

    try:
        with tempfile.TemporaryDirectory() as folder, show_progress("latency", steps(settings)) as step:
            report = measure_latency(settings, Path(folder), step, save)
    finally:  # also when interrupted: what is measured is measured
        for own in kept:
            text.show(own, console())
            if settings.csv:
                write_csv(settings.csv, own)
            if settings.html:
                write_latency_page(settings.html, own)
    return asdict(report)


def bench_compare(settings: CompareConfig) -> dict[str, Any]:
    """Compare two runs, and show what changed."""
    result = compare.compare(compare.read(settings.before), compare.read(settings.after), settings.tolerance / 100)
    print(compare.as_text(result))
    return {**asdict(result), "failed": compare.failure(result)}
