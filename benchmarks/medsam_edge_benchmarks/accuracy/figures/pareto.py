"""What accuracy costs: DSC and NSD over the seconds of an image, and the networks that none beats in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medsam_edge.errors import InputError
from medsam_edge.writing.whole import replacing
from medsam_edge_benchmarks.accuracy.figures.charts import style
from medsam_edge_benchmarks.accuracy.scoring.measure import Row
from medsam_edge_benchmarks.accuracy.scoring.seconds import KINDS, Seconds, seconds_each
from medsam_edge_benchmarks.accuracy.scoring.summary import MEAN, METRICS, Group, by_modality
from medsam_edge_benchmarks.report.plot import FAINT, WIDTH, plain
from medsam_edge_convert.accuracy import ELLIPSE


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Of (cost, worth) by name, those to which no other is at once as cheap and worth as much; the cheapest first."""
    chosen: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not chosen or points[name][1] > points[chosen[-1]][1]:
            chosen.append(name)
    return chosen


def write_pareto(path: Path, rows: Sequence[Row]) -> None:
    """Two plots side by side, of the pictures alone; the file appears whole or not at all.

    Args:
        rows: of one or more jitters, of which the first counts.

    Raises:
        InputError: no picture was timed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    timed, group = _of_pictures(rows)
    methods = list(dict.fromkeys(row.method for row in rows))
    drawing = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    for metric, axes in zip(METRICS, drawing.subplots(1, 2), strict=True):
        estimates = group.metric(metric)
        points = {name: (own.mean, mean) for name, own in timed.items() if (mean := estimates[name].mean) is not None}
        for name, (seconds, mean) in points.items():
            color, marker = style(methods, methods.index(name))
            low, high = estimates[name].low, estimates[name].high
            if low is not None and high is not None:
                axes.plot([seconds, seconds], [low, high], color=color, alpha=0.5)
            axes.plot([seconds], [mean], color=color, marker=marker, ls="")
            axes.annotate(name, (seconds, mean), xytext=(7, 4), textcoords="offset points", color=color, fontsize=8)
        best = front(points)
        axes.step([points[name][0] for name in best], [points[name][1] for name in best], FAINT, where="post", lw=1)
        ellipse = estimates[ELLIPSE].mean if ELLIPSE in estimates else None
        if ellipse is not None:
            axes.axhline(ellipse, color=FAINT, ls=":", lw=1)
            axes.annotate(ELLIPSE, (0.01, ellipse), xycoords=("axes fraction", "data"), color=FAINT, fontsize=8)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")  # or labels lie over one another where the range is less than a decade
        axes.margins(x=0.35, y=0.15)
        axes.set_xlabel("seconds per picture", color="#4b5563")
        axes.set_ylabel(f"{metric.upper()}, mean over modalities", color="#4b5563")
        plain(axes)
    with replacing(path) as partial:
        drawing.savefig(partial, format=path.suffix[1:].lower(), dpi=150)


def _of_pictures(rows: Sequence[Row]) -> tuple[Mapping[str, Seconds], Group]:
    """What the pictures took, and their mean: a volume's accuracy has no place over a picture's seconds."""
    pictures = [row for row in rows if row.dimensions == 2 and row.jitter == rows[0].jitter]
    timed = seconds_each(pictures).get(KINDS[2])
    if not timed:
        raise InputError("--pareto: expected pictures that a network was timed on, got none")
    return timed, by_modality(pictures)[MEAN]
