"""A report as tables of words, which terminal and page show each in its way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from medsam_edge_benchmarks.accuracy.scoring.report import AccuracyReport
from medsam_edge_benchmarks.accuracy.scoring.summary import MEAN, METRICS, Estimate, Groups

NO_FIGURE = "–"
INTERVALS = (
    "In percent; below each figure its 95 % interval, by drawing images anew (objects of one image are alike). Several "
    "slices or views of one patient count as independent: where a data set has such, the intervals are too narrow."
)


WARNING = (
    "These are not comparable: the papers' data, splits and boxes are others than those measured here. The challenge's "
    "rule is the one they were computed by."
)


class Published(NamedTuple):
    """What the papers of the challenge print: mean (DSC, NSD) in percent; None where nothing is printed."""

    system: str
    validation: tuple[float, float]
    test: tuple[float, float] | None = None


PUBLISHED = (
    Published("LiteMedSAM (baseline)", (83.2, 82.7), (78.64, 80.58)),
    Published("Rep-MedSAM", (85.90, 87.07), (82.44, 84.43)),
    Published("class-prompt TinyViT", (86.89, 88.04)),
    Published("MedficientSAM-L1", (86.42, 87.95)),
    Published("DAFT", (88.07, 89.16), (83.29, 85.59)),
    Published("QMedSAM int8", (83.51, 86.11), (78.28, 79.83)),
)


class Cell(NamedTuple):
    """A figure and what stands below it."""

    text: str
    below: str = ""


class Grid(NamedTuple):
    title: str
    words: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def main_grids(report: AccuracyReport) -> Iterator[Grid]:
    """DSC and NSD by set if asked for, by modality and both rules, and what the papers print."""
    rule = (
        "Mean over images of the mean over each image's objects. NSD as the challenge's script takes it: a picture's "
        "is over all of an object's area and not its outline, and 0 where an image's mean DSC is 0.2 or less. Each "
        "mask counts by itself; in the challenge's files later ones lie over earlier ones."
    )
    if report.sets:
        words = f"Mean over a set's objects, and the mean over sets. {INTERVALS}"
        for metric, grid in zip(METRICS, _both("by set", words, report.sets, report), strict=True):
            counts = [Cell(str(report.below_ellipse[metric].get(name, NO_FIGURE))) for name in report.methods]
            yield grid._replace(rows=[*grid.rows, [Cell("sets below the ellipse"), Cell(""), Cell(""), *counts]])
    yield from _both("by modality", f"Mean over objects. {INTERVALS}", report.modalities["plain"], report)
    yield from _both("by modality, as the challenge counts", rule, report.modalities["challenge"], report)
    yield _papers(report)


def further_grids(report: AccuracyReport) -> Iterator[Grid]:
    """By dataset, object size and jitter; calibration; recognition; seconds."""
    size = "Side of the object's box in the 256 × 256 square that networks see; mean over objects of all modalities."
    moved = (
        "Each side of each box moved by up to so many network pixels; on an axis where the box would be thinner than a "
        "pixel, its sides stay. Mean over modalities, plain."
    )
    if not report.sets:
        yield from _both("by dataset", "Mean over objects.", report.datasets, report)
    yield from _both("by object size", size, report.sizes, report)
    if len(report.jitters) > 1:
        yield from _both("by jitter", moved, report.jitters, report)
    if report.calibration:
        yield _calibration(report)
    if report.recognized:
        methods, rows = _methods(report.recognized), []
        for modality, own in report.recognized.items():
            rows.append([Cell(modality), *(Cell(f"{own[name]:.1f}" if name in own else NO_FIGURE) for name in methods)])
        yield Grid("Modality recognised", "In percent of images.", ["modality", *methods], rows)
    if report.seconds:
        yield _seconds(report)


def figure(estimate: Estimate | None) -> Cell:
    """87.5 with 85.1–89.9 below."""
    if estimate is None or estimate.mean is None:
        return Cell(NO_FIGURE)
    between = "" if estimate.low is None else f"{estimate.low:.1f}–{estimate.high:.1f}"
    return Cell(f"{estimate.mean:.1f}", between)


def _both(cut: str, words: str, groups: Groups, report: AccuracyReport) -> Iterator[Grid]:
    """A grid of DSC and one of NSD, a row for each group."""
    headings = [cut.split(",")[0].removeprefix("by "), "images", "objects", *report.methods]
    for metric in METRICS:
        rows = []
        for name, group in groups.items():
            figures = [figure(group.metric(metric).get(method)) for method in report.methods]
            rows.append([Cell(name), Cell(str(group.images)), Cell(str(group.objects)), *figures])
        yield Grid(f"{metric.upper()} {cut}", words, headings, rows)


def _papers(report: AccuracyReport) -> Grid:
    """The papers' rows, and each method's mean by the challenge's rule in a column of its own."""
    rows = []
    for system, *pairs in PUBLISHED:
        rows.append([Cell(system), *(Cell(f"{p[0]:g} / {p[1]:g}" if p else NO_FIGURE) for p in pairs), Cell("")])
    ours = report.modalities["challenge"][MEAN]
    for method in report.methods:
        figures = " / ".join(figure(estimates[method]).text for estimates in (ours.dsc, ours.nsd))
        rows.append([Cell(f"{method}, here"), Cell(""), Cell(""), Cell(figures)])
    return Grid("Beside the papers: DSC / NSD", WARNING, ["system", "validation", "test", "these data"], rows)


def _calibration(report: AccuracyReport) -> Grid:
    words = (
        "Predicted against true IoU. The expected calibration error is how far the two are apart on average, within "
        "tenths of the prediction; a volume's prediction is the mean over its slices."
    )
    rows = []
    for method, found in report.calibration.items():
        correlation = NO_FIGURE if found.correlation is None else f"{found.correlation:.2f}"
        objects = sum(own.objects for own in found.bins)
        rows.append([Cell(method), Cell(str(objects)), Cell(f"{100 * found.error:.1f}"), Cell(correlation)])
    return Grid("Calibration of the predicted IoU", words, ["method", "objects", "error, points", "correlation"], rows)


def _seconds(report: AccuracyReport) -> Grid:
    words = (
        "Wall time from pixels and boxes to masks, mean over images; below it the ratio to the first method. The "
        "methods ran on one machine, one after another on each image. Each begins each image with an empty cache "
        "of its own and finds nothing that was encoded before. The ellipse, GrabCut and boxes per slice are not timed."
    )
    methods, rows = _methods(report.seconds), []
    for kind, own in report.seconds.items():
        figures = [Cell(f"{own[name].mean:.3g}", f"× {own[name].ratio:.2f}") for name in methods]
        rows.append([Cell(kind), Cell(str(max(one.images for one in own.values()))), *figures])
    return Grid("Seconds per image", words, ["", "images", *methods], rows)


def _methods(table: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The methods that any row of a table has."""
    return list(dict.fromkeys(name for own in table.values() for name in own))
