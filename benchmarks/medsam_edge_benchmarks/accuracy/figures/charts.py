"""A report's pictures, and what accuracy costs: DSC and NSD over the seconds of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medsam_edge.errors import InputError
from medsam_edge.writing.whole import replacing
from medsam_edge_benchmarks.accuracy.scoring.measure import Row
from medsam_edge_benchmarks.accuracy.scoring.methods import GRABCUT
from medsam_edge_benchmarks.accuracy.scoring.report import KINDS, Calibration, Seconds, seconds_each
from medsam_edge_benchmarks.accuracy.scoring.summary import MEAN, METRICS, Group, Groups, by_modality
from medsam_edge_benchmarks.report.output import FAINT, WIDTH, address, figure, finish, plain
from medsam_edge_convert.accuracy import ELLIPSE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#c2410c", "#2563a8", "#2a9d8f", "#8e6bb5", "#e08a2e", "#475569")
MARKERS = ("o", "s", "D", "^", "v", "P")
ROW = 0.42  # inches of height for each row of dots


def modality_dots(groups: Groups, methods: Sequence[str]) -> str:
    """A row for each modality and the mean, a dot with its interval for each method; DSC."""
    picture, axes = figure(ROW * len(groups) + 1.1)
    for y, (name, group) in enumerate(groups.items()):
        axes.axhline(y + 0.5, color="#eef0f2", lw=1)
        for number, method in enumerate(methods):
            own, bold = group.dsc[method], name == MEAN
            if own.mean is None:
                continue
            place = y + 0.6 * ((number + 0.5) / len(methods) - 0.5)
            color, marker = style(methods, method)
            if own.low is not None and own.high is not None:
                axes.plot([own.low, own.high], [place, place], color=color, lw=2 if bold else 1.2, alpha=0.6)
            axes.plot([own.mean], [place], marker=marker, color=color, ms=7 if bold else 5)
    finish(axes, list(enumerate(groups)), "DSC in percent, with its 95 % interval")
    axes.set_ylim(len(groups) - 0.5, -0.5)
    return _address(picture, methods, methods)


def lines(groups: Groups, methods: Sequence[str], label: str, places: Sequence[float]) -> str:
    """DSC over sizes or jitters, a line for each method; `places` says where on the axis each group stands."""
    picture, axes = figure(3.6)
    for method in methods:
        found = [(x, group.dsc.get(method)) for x, group in zip(places, groups.values(), strict=True)]
        points = [(x, own.mean, own) for x, own in found if own is not None and own.mean is not None]
        color, marker = style(methods, method)
        axes.plot([x for x, _, _ in points], [mean for _, mean, _ in points], color=color, marker=marker, ms=5, lw=1.4)
        ranged = [(x, own.low, own.high) for x, _, own in points if own.low is not None and own.high is not None]
        if ranged:
            across, low, high = zip(*ranged, strict=True)
            axes.fill_between(across, low, high, color=color, alpha=0.1, lw=0)
    axes.set_xticks(places, list(groups))
    plain(axes, label, "DSC in percent")
    return _address(picture, methods, methods)


def reliability(found: Mapping[str, Calibration], methods: Sequence[str]) -> str:
    """Mean true over mean predicted IoU in each bin; on the diagonal, a method knows how good it is."""
    picture, axes = figure(4.4)
    axes.plot([0, 1], [0, 1], color=FAINT, lw=1, ls=":")
    for method, own in found.items():
        color, marker = style(methods, method)
        predicted, true = zip(*((bin_.predicted, bin_.true) for bin_ in own.bins), strict=True)
        axes.plot(predicted, true, color=color, marker=marker, ms=5, lw=1.2)
        largest = max(bin_.objects for bin_ in own.bins)
        sizes = [12 + 240 * bin_.objects / largest for bin_ in own.bins]
        axes.scatter(predicted, true, s=sizes, color=color, alpha=0.15, lw=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    plain(axes, "predicted IoU; shades are as large as the number of objects", "true IoU")
    return _address(picture, methods, found)


def style(methods: Sequence[str], method: str) -> tuple[str, str]:
    """Colour and marker of a method: grey for those that are no networks."""
    number = methods.index(method)
    color = {ELLIPSE: FAINT, GRABCUT: "#d6b98c"}.get(method, COLORS[number % len(COLORS)])
    return color, MARKERS[number % len(MARKERS)]


def _address(picture: Figure, methods: Sequence[str], shown: Iterable[str]) -> str:
    """The picture with a legend of the methods shown, in their order."""
    from matplotlib.lines import Line2D

    handles = []
    for method in sorted(shown, key=methods.index):
        color, marker = style(methods, method)
        handles.append(Line2D([], [], ls="", marker=marker, color=color, label=method))
    picture.legend(handles=handles, loc="outside upper left", ncols=min(6, len(handles)), frameon=False)
    return address(picture)


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Of (cost, worth) by name, those to which no other is at once as cheap and worth as much; the cheapest first."""
    chosen: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not chosen or points[name][1] > points[chosen[-1]][1]:
            chosen.append(name)
    return chosen


def write_pareto(path: Path, rows: Sequence[Row]) -> None:
    """Two plots side by side, of the first jitter and the pictures alone; the file appears whole or not at all."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    timed, group = _of_pictures(rows)
    methods = list(dict.fromkeys(row.method for row in rows))
    drawing = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    for metric, axes in zip(METRICS, drawing.subplots(1, 2), strict=True):
        estimates = group.metric(metric)
        points = {name: (own.mean, mean) for name, own in timed.items() if (mean := estimates[name].mean) is not None}
        for name, (seconds, mean) in points.items():
            color, marker = style(methods, name)
            low, high = estimates[name].low, estimates[name].high
            if low is not None and high is not None:
                axes.plot([seconds, seconds], [low, high], color=color, alpha=0.5)
            axes.plot([seconds], [mean], color=color, marker=marker, ls="")
            axes.annotate(name, (seconds, mean), xytext=(7, 4), textcoords="offset points", color=color, fontsize=8)
        best = front(points)
        axes.step([points[name][0] for name in best], [points[name][1] for name in best], FAINT, where="post", lw=1)
        if ELLIPSE in estimates and (ellipse := estimates[ELLIPSE].mean) is not None:
            axes.axhline(ellipse, color=FAINT, ls=":", lw=1)
            axes.annotate(ELLIPSE, (0.01, ellipse), xycoords=("axes fraction", "data"), color=FAINT, fontsize=8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")  # or labels lie over one another where the range is less than a decade
        axes.margins(x=0.35, y=0.15)
        plain(axes, "seconds per picture", f"{metric.upper()}, mean over modalities")
    with replacing(path) as partial:
        drawing.savefig(partial, format=path.suffix[1:].lower(), dpi=150)


def _of_pictures(rows: Sequence[Row]) -> tuple[Mapping[str, Seconds], Group]:
    """What the pictures took, and their mean: a volume's accuracy has no place over a picture's seconds."""
    pictures = [row for row in rows if row.dimensions == 2 and row.jitter == rows[0].jitter]
    timed = seconds_each(pictures).get(KINDS[2])
    if not timed:
        raise InputError("--pareto: expected pictures that a network was timed on, got none")
    return timed, by_modality(pictures)[MEAN]
