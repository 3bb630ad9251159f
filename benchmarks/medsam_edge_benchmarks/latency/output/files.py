"""A latency report as an HTML page, where every figure has its ratio to the baseline beside it, and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from medsam_edge_benchmarks.latency.output import charts, text
from medsam_edge_benchmarks.latency.runs.figures import COLD_START, Figures, LatencyReport
from medsam_edge_benchmarks.latency.runs.fresh import WARM
from medsam_edge_benchmarks.latency.variants import BASELINE, OURS, STAGES
from medsam_edge_benchmarks.report.output import write_table
from medsam_edge_convert.page import Line, write_page

COLUMNS = "case,variant,quantity,unit,p50,p90,p99,ratio_to_baseline,ratio_scaled,rounds,scaled,scaled_from"


def write_latency_page(path: Path, report: LatencyReport) -> None:
    """Write the page; the file appears whole or not at all."""
    cases = []
    for own in report.cases:
        words = f"{text.work(own)}; {text.papers(own.case)}"
        cases.append((own.case.name, words, *_table(own.variants, STAGES)))
    write_page(
        path,
        "medsam_edge_benchmarks.report",
        "latency.html",
        title="medsam-edge: latency",
        notes=[line for line in text.footnotes(report) if line not in (text.PAPERS, text.OVERLAP)],
        papers=text.PAPERS,
        overlap=text.OVERLAP,
        ours=OURS,
        numbers=list(_numbers(report)),
        charts=_charts(report),
        cases=cases,
        start=_table(report.cold_start, text.START_STAGES) if report.cold_start else None,
        rates=_rates(report),
        scaled=text.scaled(report),
        settings={**report.machine, **report.settings},
    )


def _numbers(report: LatencyReport) -> Iterator[tuple[str, str]]:
    ratios = [own.variants[OURS].total.ratio or 1.0 for own in report.cases]
    if ratios:
        median, low, high = (text.times(float(value)) for value in (np.median(ratios), min(ratios), max(ratios)))
        sign = "≈ " if any(own.variants[BASELINE].total.scaled for own in report.cases) else ""
        yield f"{sign}{median}", f"faster than lite_medsam in PyTorch, median of {len(ratios)} cases ({low} to {high})"
    if WARM in report.cold_start:
        own, base = (text.duration(report.cold_start[name].total.p50) for name in (WARM, BASELINE))
        yield own, f"to the first mask of a new process, models cached; lite_medsam {base}"
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
        lines.append(Line([(name,), *text.cells(figures, stages)], "ours" if name.startswith(OURS) else "", title))
    return ["variant", *text.headings(stages)], lines


def write_csv(path: Path, report: LatencyReport) -> None:
    """Seconds of every stage and total, throughput and memory, one figure a row."""
    named = [(case, name, own) for case, variants in report.named for name, own in variants.items()]
    write_table(path, COLUMNS.split(","), ((case, name, *row) for case, name, own in named for row in _rows(case, own)))


def _rows(case: str, figures: Figures) -> Iterator[tuple[object, ...]]:
    """What follows the case and the variant; cells without a value are empty."""
    total = figures.total
    for stage, spread in figures.stages.items():
        scaled = (spread.scaled, figures.scaled_from if spread.scaled else None)
        yield stage, "s", spread.p50, spread.p90, spread.p99, spread.ratio, spread.ratio_scaled, figures.rounds, *scaled
    rates = {"slices": figures.slices_per_s, "boxes": figures.boxes_per_s} if case != COLD_START else {}
    for quantity, rate in rates.items():
        known = (total.ratio, total.ratio_scaled, figures.rounds, total.scaled, figures.scaled_from)
        yield quantity, "1/s", rate, None, None, *known
    if figures.peak_mb is not None:
        yield "peak memory", "MB", figures.peak_mb, None, None, figures.peak_ratio, False, 1, False, None
