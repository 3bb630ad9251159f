"""An accuracy report as an HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medsam_edge_benchmarks.accuracy.figures import charts
from medsam_edge_benchmarks.accuracy.figures.grids import Cell, figure, further_grids, main_grids
from medsam_edge_benchmarks.accuracy.output.text import notes
from medsam_edge_benchmarks.accuracy.scoring.report import AccuracyReport
from medsam_edge_benchmarks.accuracy.scoring.summary import MEAN
from medsam_edge_convert.accuracy import ELLIPSE
from medsam_edge_convert.page import Line, write_page


def write_accuracy_page(path: Path, report: AccuracyReport) -> None:
    """Write the page; the file appears whole or not at all."""
    grids = (*main_grids(report), *further_grids(report))
    write_page(
        path,
        "medsam_edge_benchmarks.report",
        "accuracy.html",
        title="medsam-edge: accuracy",
        notes=notes(report),
        numbers=list(_numbers(report)),
        charts=_charts(report),
        tables=[(grid.title, grid.words, grid.headings, [_line(row) for row in grid.rows]) for grid in grids],
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


def _line(row: Sequence[Cell]) -> Line:
    return Line(row, "ours" if row[0].text == MEAN else "")
