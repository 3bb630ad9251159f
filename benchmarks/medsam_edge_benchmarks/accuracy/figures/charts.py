"""A report's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medsam_edge_benchmarks.accuracy.scoring.calibration import Calibration
from medsam_edge_benchmarks.accuracy.scoring.methods import GRABCUT
from medsam_edge_benchmarks.accuracy.scoring.summary import MEAN, Estimate, Groups
from medsam_edge_benchmarks.report.plot import FAINT, address, figure, finish, plain
from medsam_edge_convert.accuracy import ELLIPSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#c2410c", "#2563a8", "#2a9d8f", "#8e6bb5", "#e08a2e", "#475569")
MARKERS = ("o", "s", "D", "^", "v", "P")
ROW = 0.42  # inches of height for each row of dots


def modality_dots(groups: Groups, methods: Sequence[str]) -> str:
    """A row for each modality and the mean, a dot with its interval for each method; DSC."""
    picture, axes = figure(ROW * len(groups) + 1.1)
    for y, (name, group) in enumerate(groups.items()):
        axes.axhline(y + 0.5, color="#eef0f2", lw=1)
        for number, method in enumerate(methods):
            shift = 0.6 * ((number + 0.5) / len(methods) - 0.5)
            _dot(axes, group.dsc[method], y + shift, methods, number, name == MEAN)
    finish(axes, list(enumerate(groups)), "DSC in percent, with its 95 % interval")
    axes.set_ylim(len(groups) - 0.5, -0.5)
    _legend(axes, methods)
    return address(picture)


def lines(groups: Groups, methods: Sequence[str], label: str, places: Sequence[float]) -> str:
    """DSC over sizes or jitters, a line for each method; `places` says where on the axis each group stands."""
    picture, axes = figure(3.6)
    for number, method in enumerate(methods):
        shown = [
            (x, group.dsc[method]) for x, group in zip(places, groups.values(), strict=True) if method in group.dsc
        ]
        points = [(x, own.mean, own) for x, own in shown if own.mean is not None]
        color, marker = style(methods, number)
        axes.plot([x for x, _, _ in points], [mean for _, mean, _ in points], color=color, marker=marker, ms=5, lw=1.4)
        ranged = [(x, own.low, own.high) for x, _, own in points if own.low is not None and own.high is not None]
        if ranged:
            across, low, high = zip(*ranged, strict=True)
            axes.fill_between(across, low, high, color=color, alpha=0.1, lw=0)
    axes.set_xticks(places, list(groups))
    axes.set_xlabel(label, color="#4b5563")
    axes.set_ylabel("DSC in percent", color="#4b5563")
    plain(axes)
    _legend(axes, methods)
    return address(picture)


def reliability(found: Mapping[str, Calibration], methods: Sequence[str]) -> str:
    """Mean true over mean predicted IoU in each bin; on the diagonal, a method knows how good it is."""
    picture, axes = figure(4.4)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=":")
    for method, own in found.items():
        color, marker = style(methods, list(methods).index(method))
        predicted, true = zip(*((bin_.predicted, bin_.true) for bin_ in own.bins), strict=True)
        axes.plot(predicted, true, color=color, marker=marker, ms=5, lw=1.2)
        largest = max(bin_.objects for bin_ in own.bins)
        sizes = [12 + 240 * bin_.objects / largest for bin_ in own.bins]
        axes.scatter(predicted, true, s=sizes, color=color, alpha=0.15, lw=0)
    axes.set_xlabel("predicted IoU; shades are as large as the number of objects", color="#4b5563")
    axes.set_ylabel("true IoU", color="#4b5563")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    plain(axes)
    _legend(axes, methods, list(found))
    return address(picture)


def style(methods: Sequence[str], number: int) -> tuple[str, str]:
    """Colour and marker of a method: grey for those that are no networks."""
    marker = MARKERS[number % len(MARKERS)]
    return {ELLIPSE: FAINT, GRABCUT: "#d6b98c"}.get(methods[number], COLORS[number % len(COLORS)]), marker


def _dot(axes: Axes, own: Estimate, y: float, methods: Sequence[str], number: int, bold: bool) -> None:
    if own.mean is None:
        return
    color, marker = style(methods, number)
    if own.low is not None and own.high is not None:
        axes.plot([own.low, own.high], [y, y], color=color, lw=2 if bold else 1.2, alpha=0.6)
    axes.plot([own.mean], [y], marker=marker, color=color, ms=7 if bold else 5)


def _legend(axes: Axes, methods: Sequence[str], shown: Sequence[str] | None = None) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for number, method in enumerate(methods):
        color, marker = style(methods, number)
        if shown is None or method in shown:
            handles.append(Line2D([], [], ls="", marker=marker, color=color, label=method))
    axes.figure.legend(handles=handles, loc="outside upper left", ncols=min(6, len(handles)), frameon=False)
