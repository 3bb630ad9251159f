"""A report as one page that needs no network: pictures inline, every figure with its ratio beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from medsam_edge.io import replacing
from medsam_edge_benchmarks.latency import charts
from medsam_edge_benchmarks.latency.figures import Figures, Report
from medsam_edge_benchmarks.latency.fresh import WARM
from medsam_edge_benchmarks.latency.text import (
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
from medsam_edge_benchmarks.latency.variants import BASELINE, OURS, STAGES

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f3f4f6; color: #1f2937; font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 0 0 6px; }
h3 { font-size: 15px; margin: 22px 0 0; }
p { margin: 6px 0; color: #4b5563; max-width: 84ch; }
section { background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; padding: 20px 24px; margin-top: 20px; }
img { width: 100%; height: auto; display: block; margin-top: 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 14px; margin-top: 20px; }
.tile { background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; padding: 16px 18px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; color: #c2410c; font-weight: 650; }
.tile span { color: #4b5563; font-size: 13.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; margin-top: 8px; }
th { text-align: right; font-weight: 500; color: #6b7280; border-bottom: 1px solid #d1d5db; padding: 4px 8px; }
td { text-align: right; padding: 5px 8px; border-bottom: 1px solid #eef0f2; white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td small { display: block; color: #6b7280; font-size: 11.5px; }
tr.ours td { background: #fff7ed; font-weight: 600; }
tr.ours td small { font-weight: 400; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 8px 0 0; }
dt { color: #6b7280; } dd { margin: 0; }
ul { margin: 8px 0 0; padding-left: 18px; color: #4b5563; }
"""


def write_page(path: Path, report: Report) -> None:
    """Write the page; the file appears whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The page as HTML."""
    parts = [_head(report), _tiles(report)]
    if report.cases:
        measured = "How many times faster than LiteMedSAM"
        parts += [
            _section(
                measured,
                charts.ratio_dots(report.cases),
                f"Filled: measured here. Hollow: as the papers print it. {PAPERS}",
            ),
            _section("Time per case, by stage", charts.relative_bars(report.cases), OVERLAP),
            _section(f"Where the time of {OURS} goes", charts.own_stages(report.cases), ""),
        ]
    if report.cold_start:
        text = "Fresh processes, taken in turns. The cache is that of compiled models."
        table = _table(report.cold_start, START_STAGES)
        parts.append(_section("Cold start", charts.start_bars(report.cold_start), text, table))
    if report.roofline:
        copied = f"Measured here, now. It copies {report.roofline.copy_gb_per_s:.1f} GB/s, read and written."
        absent = [f"{rate.precision}: {rate.kernel}." for rate in report.roofline.rates if not rate.gmacs_per_s]
        parts.append(
            _section("What the machine can do", charts.rate_bars(report.roofline), " ".join([copied, *absent]))
        )
    parts += [_all_figures(report), _scaled(report), _machine(report)]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'><title>medsam-edge: latency</title>"
        f"<style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _head(report: Report) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in footnotes(report) if line not in (PAPERS, OVERLAP))
    machine = f"{report.machine['processor']}, {report.machine['threads']}"
    return f"<h1>medsam-edge: latency</h1><p>{escape(machine)}</p><ul>{lines}</ul>"


def _tiles(report: Report) -> str:
    tiles = []
    ratios = [own.variants[OURS].total.ratio or 1.0 for own in report.cases]
    if ratios:
        median, low, high = (times(float(value)) for value in (np.median(ratios), min(ratios), max(ratios)))
        sign = "≈ " if any(own.variants[BASELINE].total.scaled for own in report.cases) else ""
        tiles.append(
            (
                f"{sign}{median}",
                f"faster than lite_medsam in PyTorch, median of {len(ratios)} cases ({low} to {high})",
            )
        )
    if WARM in report.cold_start:
        own, base = report.cold_start[WARM].total, report.cold_start[BASELINE].total
        tiles.append(
            (duration(own.p50), f"to the first mask of a new process, models cached; lite_medsam {duration(base.p50)}")
        )
    for part in report.roofline.parts if report.roofline else ():
        if part.share:
            tiles.append(
                (f"{part.share:.0%}", f"of this machine's {part.precision} matrix rate, reached by the {part.part}")
            )
    return (
        "<div class='tiles'>"
        + "".join(f"<div class='tile'><b>{b}</b><span>{t}</span></div>" for b, t in tiles)
        + "</div>"
    )


def _section(title: str, picture: str, text: str, after: str = "") -> str:
    words = f"<p>{escape(text)}</p>" if text else ""
    return f"<section><h2>{escape(title)}</h2>{words}<img alt='{escape(title)}' src='{picture}'>{after}</section>"


def _all_figures(report: Report) -> str:
    blocks = [
        f"<h3>{own.case.name}</h3><p>{work(own)}; {papers(own.case)}</p>" + _table(own.variants, STAGES)
        for own in report.cases
    ]
    text = (
        "Medians over the rounds, the ratio to lite_medsam below: more is faster, or smaller. ≈ is scaled up by count."
    )
    return f"<section><h2>All figures</h2><p>{text}</p>{''.join(blocks)}</section>" if blocks else ""


def _scaled(report: Report) -> str:
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


def _machine(report: Report) -> str:
    settings = {name: _plain(value) for name, value in report.settings.items()}
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in {**report.machine, **settings}.items())
    return f"<section><h2>Machine and settings</h2><dl>{facts}</dl></section>"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
