"""A latency report as an HTML page: every figure has its ratio to the baseline beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from medsam_edge_benchmarks.latency.output import charts
from medsam_edge_benchmarks.latency.output.text import (
    OVERLAP,
    PAPERS,
    START_STAGES,
    cells,
    duration,
    footnotes,
    headings,
    papers,
    scaled,
    times,
    work,
)
from medsam_edge_benchmarks.latency.runs.figures import Figures, LatencyReport
from medsam_edge_benchmarks.latency.runs.fresh import WARM
from medsam_edge_benchmarks.latency.variants import BASELINE, OURS, STAGES
from medsam_edge_convert.page import Line, write_page


def write_latency_page(path: Path, report: LatencyReport) -> None:
    """Write the page; the file appears whole or not at all."""
    write_page(
        path,
        "medsam_edge_benchmarks.report",
        "latency.html",
        title="medsam-edge: latency",
        notes=[line for line in footnotes(report) if line not in (PAPERS, OVERLAP)],
        papers=PAPERS,
        overlap=OVERLAP,
        ours=OURS,
        numbers=list(_numbers(report)),
        charts=_charts(report),
        cases=[
            (own.case.name, f"{work(own)}; {papers(own.case)}", *_table(own.variants, STAGES)) for own in report.cases
        ],
        start=_table(report.cold_start, START_STAGES) if report.cold_start else None,
        rates=_rates(report),
        scaled=scaled(report),
        settings={**report.machine, **report.settings},
    )


def _numbers(report: LatencyReport) -> Iterator[tuple[str, str]]:
    ratios = [own.variants[OURS].total.ratio or 1.0 for own in report.cases]
    if ratios:
        median, low, high = (times(float(value)) for value in (np.median(ratios), min(ratios), max(ratios)))
        sign = "≈ " if any(own.variants[BASELINE].total.scaled for own in report.cases) else ""
        text = f"faster than lite_medsam in PyTorch, median of {len(ratios)} cases ({low} to {high})"
        yield f"{sign}{median}", text
    if WARM in report.cold_start:
        own, base = report.cold_start[WARM].total, report.cold_start[BASELINE].total
        text = f"to the first mask of a new process, models cached; lite_medsam {duration(base.p50)}"
        yield duration(own.p50), text
    for part in report.roofline.parts if report.roofline else ():
        if part.share:
            yield f"{part.share:.0%}", f"of this machine's {part.precision} matrix rate, reached by the {part.part}"


def _charts(report: LatencyReport) -> dict[str, str]:
    """Data addresses of the plots of what was measured."""
    found = {}
    if report.cases:
        found["ratios"] = charts.ratio_dots(report.cases)
        found["stages"] = charts.relative_bars(report.cases)
        found["own"] = charts.own_stages(report.cases)
    if report.cold_start:
        found["start"] = charts.start_bars(report.cold_start)
    if report.roofline:
        found["rates"] = charts.rate_bars(report.roofline)
    return found


def _rates(report: LatencyReport) -> str:
    if report.roofline is None:
        return ""
    copied = f"Measured here, now. It copies {report.roofline.copy_gb_per_s:.1f} GB/s, read and written."
    absent = [f"{rate.precision}: {rate.kernel}." for rate in report.roofline.rates if not rate.gmacs_per_s]
    return " ".join([copied, *absent])


def _table(variants: Mapping[str, Figures], stages: tuple[str, ...]) -> tuple[list[str], list[Line]]:
    """Headings and lines."""
    lines = []
    for name, figures in variants.items():
        title = f"scaled up by count from {figures.scaled_from}" if figures.scaled_from else ""
        lines.append(Line([(name,), *cells(figures, stages)], "ours" if name.startswith(OURS) else "", title))
    return ["variant", *headings(stages)], lines
