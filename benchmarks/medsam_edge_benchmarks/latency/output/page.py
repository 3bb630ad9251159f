"""A report as one page that needs no network: pictures inline, every figure with its ratio beside it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np

from medsam_edge.writing.whole import replacing
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
from medsam_edge_benchmarks.report.page import document, facts, section, tiles


def write_page(path: Path, report: LatencyReport) -> None:
    """Write the page; the file appears whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(page(report), encoding="utf-8")


def page(report: LatencyReport) -> str:
    """The page as HTML."""
    parts = [_head(report), _tiles(report)]
    if report.cases:
        measured = "How many times faster than LiteMedSAM"
        parts += [
            section(
                measured,
                charts.ratio_dots(report.cases),
                f"Filled: measured here. Hollow: as the papers print it. {PAPERS}",
            ),
            section("Time per case, by stage", charts.relative_bars(report.cases), OVERLAP),
            section(f"Where the time of {OURS} goes", charts.own_stages(report.cases), ""),
        ]
    if report.cold_start:
        text = "Fresh processes, taken in turns. The cache is that of compiled models."
        table = _table(report.cold_start, START_STAGES)
        parts.append(section("Cold start", charts.start_bars(report.cold_start), text, table))
    if report.roofline:
        copied = f"Measured here, now. It copies {report.roofline.copy_gb_per_s:.1f} GB/s, read and written."
        absent = [f"{rate.precision}: {rate.kernel}." for rate in report.roofline.rates if not rate.gmacs_per_s]
        parts.append(section("What the machine can do", charts.rate_bars(report.roofline), " ".join([copied, *absent])))
    parts += [_all_figures(report), _scaled(report), _machine(report)]
    return document("medsam-edge: latency", parts)


def _head(report: LatencyReport) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in footnotes(report) if line not in (PAPERS, OVERLAP))
    machine = f"{report.machine['processor']}, {report.machine['threads']}"
    return f"<h1>medsam-edge: latency</h1><p>{escape(machine)}</p><ul>{lines}</ul>"


def _tiles(report: LatencyReport) -> str:
    numbers = []
    ratios = [own.variants[OURS].total.ratio or 1.0 for own in report.cases]
    if ratios:
        median, low, high = (times(float(value)) for value in (np.median(ratios), min(ratios), max(ratios)))
        sign = "≈ " if any(own.variants[BASELINE].total.scaled for own in report.cases) else ""
        numbers.append(
            (
                f"{sign}{median}",
                f"faster than lite_medsam in PyTorch, median of {len(ratios)} cases ({low} to {high})",
            )
        )
    if WARM in report.cold_start:
        own, base = report.cold_start[WARM].total, report.cold_start[BASELINE].total
        numbers.append(
            (duration(own.p50), f"to the first mask of a new process, models cached; lite_medsam {duration(base.p50)}")
        )
    for part in report.roofline.parts if report.roofline else ():
        if part.share:
            numbers.append(
                (f"{part.share:.0%}", f"of this machine's {part.precision} matrix rate, reached by the {part.part}")
            )
    return tiles(numbers)


def _all_figures(report: LatencyReport) -> str:
    blocks = [
        f"<h3>{own.case.name}</h3><p>{work(own)}; {papers(own.case)}</p>" + _table(own.variants, STAGES)
        for own in report.cases
    ]
    text = (
        "Medians over the rounds, the ratio to lite_medsam below: more is faster, or smaller. ≈ is scaled up by count."
    )
    return f"<section><h2>All figures</h2><p>{text}</p>{''.join(blocks)}</section>" if blocks else ""


def _scaled(report: LatencyReport) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in scaled(report))
    return f"<section><h2>What was scaled up by count</h2><ul>{lines}</ul></section>" if lines else ""


def _table(variants: Mapping[str, Figures], stages: tuple[str, ...]) -> str:
    header = "".join(f"<th>{name}</th>" for name in ("variant", *headings(stages)))
    rows = "".join(_row(name, figures, stages) for name, figures in variants.items())
    return f"<div class='scroll'><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>"


def _row(name: str, figures: Figures, stages: tuple[str, ...]) -> str:
    title = f" title='scaled up by count from {escape(figures.scaled_from)}'" if figures.scaled_from else ""
    values = "".join(f"<td>{figure}<small>{against}</small></td>" for figure, against in cells(figures, stages))
    return f"<tr class='{'ours' * name.startswith(OURS)}'{title}><td>{escape(name)}</td>{values}</tr>"


def _machine(report: LatencyReport) -> str:
    return facts("Machine and settings", {**report.machine, **report.settings})
