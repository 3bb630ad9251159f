"""What the suites share: the setting that all have, files, the terminal, and pictures as SVG in data addresses."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsam_edge.writing.whole import replacing
from medsam_edge_convert.page import data_address

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.table import Table

INK, GREY, FAINT = "#1f2937", "#4b5563", "#9ca3af"
WIDTH = 9.6  # inches


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """What every suite can be told.

    Attributes:
        json: file to write the figures to.
    """

    json: Path | None = None


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a suite's result; the file appears whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file; it appears whole or not at all."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def console() -> Console:
    """Standard output; wide where it is a file."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=180)


def new_table(title: str) -> Table:
    """For the terminal, without columns yet."""
    from rich.table import Table

    return Table(title=title, title_justify="left", title_style="bold", header_style="dim")


def figure(height: float) -> tuple[Figure, Axes]:
    """A picture of one plot, `height` in inches."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(WIDTH, height), layout="constrained")
    return picture, picture.add_subplot()


def finish(axes: Axes, ticks: Sequence[tuple[float, str]], label: str, room: float = 1.0) -> None:
    """For bars and dots in rows: what stands at each row, from the top, and what the horizontal axis means.

    `room` widens the axis, which begins at 0, for words at the ends of bars.
    """
    axes.set_yticks([y for y, _ in ticks], [name for _, name in ticks])
    axes.invert_yaxis()
    axes.margins(y=0.02)
    plain(axes, label)
    axes.spines["left"].set_visible(False)
    if room > 1:
        axes.set_xlim(0, axes.get_xlim()[1] * room)


def plain(axes: Axes, across: str, upward: str = "") -> None:
    """What the two axes mean; no frame, no tick marks."""
    axes.set_xlabel(across, color=GREY)
    axes.set_ylabel(upward, color=GREY)
    axes.tick_params(length=0, colors=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d1d5db")


def address(picture: Figure, colors: Mapping[str, str] | None = None) -> str:
    """A picture as a data address, above the plot what each colour means; the same figures give the same bytes."""
    from matplotlib import rc_context
    from matplotlib.patches import Patch

    if colors:
        handles = [Patch(color=color, label=name) for name, color in colors.items()]
        picture.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False)
    buffer = io.BytesIO()
    with rc_context({"font.size": 9, "svg.hashsalt": "medsam-edge"}):
        picture.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return data_address("image/svg+xml", buffer.getvalue())
