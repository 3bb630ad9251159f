"""How much a method's own estimate of a mask's IoU can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medsam_edge_benchmarks.accuracy.scoring.measure import Row

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Objects whose predicted IoU lies in one tenth of 0..1; the means of predicted and true IoU."""

    objects: int
    predicted: float
    true: float


@dataclass(frozen=True)
class Calibration:
    """Of one method over objects.

    Attributes:
        bins: those that hold an object, rising.
        error: expected calibration error (Guo et al. 2017): the mean over objects of how far their bin's mean
            prediction is from its mean IoU, 0..1.
        correlation: Pearson's, of predicted with true IoU; None where either is constant.
    """

    bins: Sequence[Bin]
    error: float
    correlation: float | None


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
    members = [where == number for number in range(BINS) if (where == number).any()]
    bins = [Bin(int(own.sum()), float(p[own].mean()), float(t[own].mean())) for own in members]
    error = sum(own.objects * abs(own.predicted - own.true) for own in bins) / len(p)
    varied = len(p) > 1 and p.std() > 1e-9 and t.std() > 1e-9
    return Calibration(bins, error, float(np.corrcoef(p, t)[0, 1]) if varied else None)
