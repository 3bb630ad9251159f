"""A report on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medsam_edge_benchmarks.accuracy.figures.grids import further_grids, main_grids
from medsam_edge_benchmarks.accuracy.scoring.report import AccuracyReport
from medsam_edge_benchmarks.accuracy.scoring.summary import MEAN
from medsam_edge_benchmarks.report.output import new_table

if TYPE_CHECKING:
    from rich.console import Console


def show(report: AccuracyReport, console: Console) -> None:
    """Print everything."""
    from rich.markup import escape

    for grid in (*main_grids(report), *further_grids(report)):
        table = new_table(grid.title)
        for number, heading in enumerate(grid.headings):
            table.add_column(escape(heading), justify="right" if number else "left", no_wrap=not number)
        for row in grid.rows:
            cells = (escape(cell.text) + (f"\n[not bold dim]{cell.below}[/]" if cell.below else "") for cell in row)
            table.add_row(*cells, style="bold" if row[0].text == MEAN else None)
        console.print(table)
        console.print(grid.words, "", sep="\n", style="dim", highlight=False)
    for name, value in report.settings.items():
        console.print(f"{name:24} {value}", markup=False, highlight=False)
    console.print(*notes(report), sep="\n", highlight=False)


def notes(report: AccuracyReport) -> list[str]:
    """What must be known to read the figures."""
    unfinished = [] if report.complete else ["Interrupted: not all images were measured."]
    some = report.settings[f"images of each {report.settings['by']}"] != "all"
    quick = ["A quick look: not all images."] if some else []
    side = report.settings["mosaic"]
    laid = [f"Each image is a mosaic of {side} × {side} images of one dataset."] if side > 1 else []
    return [*unfinished, *quick, *laid, "NSD has a tolerance of 2: pixels of the image, or mm in a volume."]
