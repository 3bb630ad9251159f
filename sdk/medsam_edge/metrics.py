"""The Dice similarity coefficient, the score that demo, training and conversion share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError


def dice(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """DSC = 2·|P∩T| / (|P| + |T|) of two masks, from 0 to 1; NaN if both are empty.

    Args:
        prediction, truth: arrays of the same shape; every non-zero value is inside.

    Raises:
        InputError: the shapes differ.
    """
    p, t = np.asarray(prediction, dtype=bool), np.asarray(truth, dtype=bool)
    if p.shape != t.shape:
        raise InputError(f"prediction: expected the truth's shape {t.shape}, got {p.shape}")
    total = int(p.sum()) + int(t.sum())
    return 2.0 * int((p & t).sum()) / total if total else float("nan")
