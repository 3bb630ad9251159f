"""How every picture of a report is begun and ended: SVG in data addresses, so that a page needs nothing beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medsam_edge_convert.page import data_address

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#1f2937", "#9ca3af"
WIDTH = 9.6  # inches


def figure(height: float) -> tuple[Figure, Axes]:
    """A picture of one plot, `height` in inches."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(WIDTH, height), layout="constrained")
    return picture, picture.add_subplot()


def finish(axes: Axes, ticks: Sequence[tuple[float, str]], label: str) -> None:
    """For bars and dots in rows: what stands at each row, from the top, and what the horizontal axis means."""
    axes.set_yticks([y for y, _ in ticks], [name for _, name in ticks])
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.set_xlabel(label, color="#4b5563")
    plain(axes)
    axes.spines["left"].set_visible(False)


def plain(axes: Axes) -> None:
    """No frame, no tick marks."""
    axes.tick_params(length=0, colors="#4b5563")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d1d5db")


def legend(axes: Axes, colors: Mapping[str, str]) -> None:
    """What each colour means, above the plot."""
    from matplotlib.patches import Patch

    handles = [Patch(color=color, label=name) for name, color in colors.items()]
    axes.figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False)


def address(picture: Any) -> str:
    """A picture as a data address; the same figures give the same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"font.size": 9, "svg.hashsalt": "medsam-edge"}):
        picture.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return data_address("image/svg+xml", buffer.getvalue())
