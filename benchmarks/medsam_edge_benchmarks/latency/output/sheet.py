"""A report as CSV: one figure a row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from medsam_edge.writing.whole import replacing
from medsam_edge_benchmarks.latency.runs.figures import Figures, LatencyReport

COLUMNS = (
    "case",
    "variant",
    "quantity",
    "unit",
    "p50",
    "p90",
    "p99",
    "ratio_to_baseline",
    "ratio_scaled",
    "rounds",
    "scaled",
    "scaled_from",
)


def write_csv(path: Path, report: LatencyReport) -> None:
    """Seconds of every stage and total, throughput and memory; the file appears whole or not at all."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for own in report.cases:
            for variant, figures in own.variants.items():
                writer.writerows((own.case.name, variant, *row) for row in _rows(figures, throughput=True))
        for variant, figures in report.cold_start.items():
            writer.writerows(("cold start", variant, *row) for row in _rows(figures, throughput=False))


def _rows(figures: Figures, throughput: bool) -> Iterator[tuple[object, ...]]:
    """What follows the case and the variant; cells without a value are empty."""
    total = figures.total
    for stage, spread in figures.stages.items():
        scaled = (spread.scaled, figures.scaled_from if spread.scaled else None)
        yield stage, "s", spread.p50, spread.p90, spread.p99, spread.ratio, spread.ratio_scaled, figures.rounds, *scaled
    if throughput:
        scaled = (total.scaled, figures.scaled_from)
        for quantity, rate in (("slices", figures.slices_per_s), ("boxes", figures.boxes_per_s)):
            yield quantity, "1/s", rate, None, None, total.ratio, total.ratio_scaled, figures.rounds, *scaled
    if figures.peak_mb is not None:
        yield "peak memory", "MB", figures.peak_mb, None, None, figures.peak_ratio, False, 1, False, None
