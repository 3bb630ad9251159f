"""An accuracy report as an HTML page, and every row as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, fields
from pathlib import Path

from medsam_edge_benchmarks.accuracy.figures import charts
from medsam_edge_benchmarks.accuracy.figures.grids import figure, further_grids, main_grids
from medsam_edge_benchmarks.accuracy.output.text import notes
from medsam_edge_benchmarks.accuracy.scoring.measure import Row
from medsam_edge_benchmarks.accuracy.scoring.report import AccuracyReport
from medsam_edge_benchmarks.accuracy.scoring.summary import MEAN
from medsam_edge_benchmarks.report.output import write_table
from medsam_edge_convert.accuracy import ELLIPSE
from medsam_edge_convert.page import Line, write_page

COLUMNS = tuple(field.name for field in fields(Row))


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """One line per object, method and jitter, in the order of `Row`."""
    write_table(path, COLUMNS, map(astuple, rows))


def write_accuracy_page(path: Path, report: AccuracyReport) -> None:
    """Write the page; the file appears whole or not at all."""
    tables = []
    for grid in (*main_grids(report), *further_grids(report)):
        rows = [Line(row, "ours" if row[0].text == MEAN else "") for row in grid.rows]
        tables.append((grid.title, grid.words, grid.headings, rows))
    write_page(
        path,
        "medsam_edge_benchmarks.report",
        "accuracy.html",
        title="medsam-edge: accuracy",
        notes=notes(report),
        numbers=list(_numbers(report)),
        charts=_charts(report),
        tables=tables,
        settings=report.settings,
    )


def _numbers(report: AccuracyReport) -> Iterator[tuple[str, str]]:
    first, plain = report.methods[0], report.modalities["plain"]
    for name, estimates in (("DSC", plain[MEAN].dsc), ("NSD", plain[MEAN].nsd)):
        own, ellipse = figure(estimates[first]), figure(estimates[ELLIPSE])
        between = f" ({own.below})" if own.below else ""
        text = f"mean {name} of {first} over {len(plain) - 1} modalities{between}; the ellipse {ellipse.text}"
        yield own.text, text
    if first in report.calibration:
        error = 100 * report.calibration[first].error
        yield f"{error:.1f}", f"points that {first}'s predicted IoU is off, within tenths of the prediction"


def _charts(report: AccuracyReport) -> dict[str, str]:
    """Data addresses of the plots; an empty one where there is nothing to plot."""
    sides, moves = "side of the object's box, network pixels", "network pixels that each side is moved by at most"
    jitters, sizes, methods = report.jitters, report.sizes, report.methods
    return {
        "modality": charts.modality_dots(report.modalities["plain"], methods),
        "size": charts.lines(sizes, methods, sides, range(len(sizes))),
        "jitter": charts.lines(jitters, methods, moves, list(map(float, jitters))) if len(jitters) > 1 else "",
        "calibration": charts.reliability(report.calibration, methods) if report.calibration else "",
    }
