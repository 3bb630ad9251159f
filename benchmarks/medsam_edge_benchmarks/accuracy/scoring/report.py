"""Everything that a run found, from its rows: what is shown and written. Beside the means, what an image costs each
network, and how much a method's own estimate of a mask's IoU can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medsam_edge_benchmarks.accuracy.scoring import summary
from medsam_edge_benchmarks.accuracy.scoring.measure import Row
from medsam_edge_benchmarks.accuracy.scoring.summary import Groups

SCHEMA = "medsam-edge bench accuracy 1"
KINDS = {2: "picture", 3: "volume"}
"""By the dimensions of a row."""
BINS = 10


@dataclass(frozen=True)
class Seconds:
    """What one method took on the pictures or the volumes."""

    images: int  # that have an object
    mean: float  # wall time of an image, in seconds
    ratio: float  # of the mean to that of the first method


@dataclass(frozen=True)
class Bin:
    """Objects whose predicted IoU lies in one tenth of 0..1; the means of predicted and true IoU."""

    objects: int
    predicted: float
    true: float


@dataclass(frozen=True)
class Calibration:
    """How a method's predicted IoU fits the true one.

    The error is the expected calibration error (Guo et al. 2017): the mean over objects of how far their bin's mean
    prediction is from its mean IoU, 0..1. The correlation is Pearson's; None where either IoU is constant.
    """

    bins: Sequence[Bin]  # those that hold an object, rising
    error: float
    correlation: float | None


@dataclass(frozen=True)
class AccuracyReport:
    """All but `jitters` are of the first jitter alone."""

    settings: Mapping[str, Any]
    complete: bool  # whether all images were measured
    methods: Sequence[str]
    modalities: Mapping[str, Groups]  # by rule, see `summary`
    datasets: Groups
    sizes: Groups
    jitters: Groups
    calibration: Mapping[str, Calibration]
    recognized: Mapping[str, Mapping[str, float]]  # percent by modality and method; empty where it was told
    seconds: Mapping[str, Mapping[str, Seconds]]  # by kind of image and method
    sets: Groups  # each data set and the mean over sets; empty unless asked for
    below_ellipse: Mapping[str, Mapping[str, int]]  # in how many sets a method is below it, by metric and method
    schema: str = SCHEMA


def summarize(rows: Sequence[Row], settings: Mapping[str, Any], complete: bool, by: str = "modality") -> AccuracyReport:
    """The report on rows, at least one, of one or more jitters; by `set` adds the macro figures over sets."""
    first = [row for row in rows if row.jitter == rows[0].jitter]
    sets = summary.by_set(first, mean=True) if by == "set" else {}
    return AccuracyReport(
        settings=settings,
        complete=complete,
        methods=list(dict.fromkeys(row.method for row in rows)),
        modalities={rule: summary.by_modality(first, rule) for rule in summary.RULES},
        datasets=summary.by_set(first),
        sizes=summary.by_size(first),
        jitters=summary.by_jitter(rows),
        calibration=calibrations(first),
        recognized=summary.recognized(first),
        seconds=seconds_each(first),
        sets=sets,
        below_ellipse=summary.below_ellipse(sets),
    )


def seconds_each(rows: Iterable[Row]) -> dict[str, dict[str, Seconds]]:
    """From all objects of one jitter, by kind of image and method; those without any time are left out."""
    times: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row.seconds is not None:
            own = times.setdefault(KINDS[row.dimensions], {}).setdefault(row.method, {})
            own[row.key] = own.get(row.key, 0.0) + row.seconds
    found: dict[str, dict[str, Seconds]] = {}
    for kind, methods in times.items():
        means = {name: sum(own.values()) / len(own) for name, own in methods.items()}
        first = next(iter(means.values()))
        found[kind] = {name: Seconds(len(methods[name]), mean, mean / first) for name, mean in means.items()}
    return found


def calibrations(rows: Iterable[Row]) -> dict[str, Calibration]:
    """By method, of those that estimate an IoU; masks without one (both empty) are left out."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.predicted_iou is not None and np.isfinite(row.iou):
            pairs.setdefault(row.method, []).append((row.predicted_iou, row.iou))
    return {method: calibrate(*zip(*own, strict=True)) for method, own in pairs.items()}


def calibrate(predicted: Sequence[float], true: Sequence[float]) -> Calibration:
    """Of N ≥ 1 objects; predictions outside 0..1 count as in the outermost bin."""
    p, t = np.array(predicted, dtype=float), np.array(true, dtype=float)
    where = (p * BINS).astype(int).clip(0, BINS - 1)
    members = [where == number for number in np.unique(where)]
    bins = [Bin(int(own.sum()), float(p[own].mean()), float(t[own].mean())) for own in members]
    error = sum(own.objects * abs(own.predicted - own.true) for own in bins) / len(p)
    varied = len(p) > 1 and p.std() > 1e-9 and t.std() > 1e-9
    return Calibration(bins, error, float(np.corrcoef(p, t)[0, 1]) if varied else None)
