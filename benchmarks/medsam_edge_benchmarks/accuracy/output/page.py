"""A report as one page that needs no network."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from medsam_edge.writing.whole import replacing
from medsam_edge_benchmarks.accuracy.figures import charts
from medsam_edge_benchmarks.accuracy.figures.grids import Cell, Grid, figure, further_grids, main_grids
from medsam_edge_benchmarks.accuracy.output.text import notes
from medsam_edge_benchmarks.accuracy.scoring.report import AccuracyReport
from medsam_edge_benchmarks.accuracy.scoring.summary import MEAN
from medsam_edge_benchmarks.report.page import document, facts, section, tiles
from medsam_edge_convert.accuracy import ELLIPSE


def write_page(path: Path, report: AccuracyReport) -> None:
    """Write the page; the file appears whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(page(report), encoding="utf-8")


def page(report: AccuracyReport) -> str:
    """The page as HTML."""
    title, lines = "medsam-edge: accuracy", "".join(f"<li>{escape(line)}</li>" for line in notes(report))
    head = f"<h1>{title}</h1><ul>{lines}</ul>"
    return document(
        title,
        [head, _tiles(report), *_pictures(report), *_tables(report), _facts(report)],
    )


def _tiles(report: AccuracyReport) -> str:
    first, plain = report.methods[0], report.modalities["plain"]
    means, numbers = plain[MEAN], []
    for name, estimates in (("DSC", means.dsc), ("NSD", means.nsd)):
        own, ellipse = figure(estimates[first]), figure(estimates[ELLIPSE])
        between = f" ({own.below})" if own.below else ""
        text = f"mean {name} of {first} over {len(plain) - 1} modalities{between}; the ellipse {ellipse.text}"
        numbers.append((own.text, text))
    if first in report.calibration:
        error = 100 * report.calibration[first].error
        numbers.append((f"{error:.1f}", f"points that {first}'s predicted IoU is off, within tenths of the prediction"))
    return tiles(numbers)


def _pictures(report: AccuracyReport) -> Iterable[str]:
    plain = report.modalities["plain"]
    yield section("DSC by modality", charts.modality_dots(plain, report.methods), "Mean over objects.")
    size = "Small objects are a few pixels of what a network sees. Shaded: the 95 % interval."
    sides = "side of the object's box, network pixels"
    yield section(
        "DSC by object size", charts.lines(report.sizes, report.methods, sides, range(len(report.sizes))), size
    )
    if len(report.jitters) > 1:
        text = (
            "What boxes cost that are not tight: each side is moved, in or out, unless the box would be thinner than a "
            "pixel. The same boxes for every method."
        )
        label = "network pixels that each side is moved by at most"
        yield section(
            "DSC by jitter",
            charts.lines(report.jitters, report.methods, label, [float(name) for name in report.jitters]),
            text,
        )
    if report.calibration:
        text = "Whether a mask's own score says how good it is."
        yield section("Calibration", charts.reliability(report.calibration, report.methods), text)


def _tables(report: AccuracyReport) -> Iterable[str]:
    for grid in (*main_grids(report), *further_grids(report)):
        yield section(grid.title, "", grid.words, _table(grid))


def _table(grid: Grid) -> str:
    header = "".join(f"<th>{escape(heading)}</th>" for heading in grid.headings)
    rows = "".join(_row(row) for row in grid.rows)
    return f"<div class='scroll'><table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>"


def _row(row: Iterable[Cell]) -> str:
    cells = list(row)
    values = "".join(f"<td>{escape(cell.text)}<small>{escape(cell.below)}</small></td>" for cell in cells)
    return f"<tr class='{'ours' * (cells[0].text == MEAN)}'>{values}</tr>"


def _facts(report: AccuracyReport) -> str:
    return facts("Settings", report.settings)
