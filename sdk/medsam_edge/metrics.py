"""Dice similarity coefficient, the one score that demo, training and conversion need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError


def dice(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """DSC = 2·|P∩T| / (|P| + |T|) of two masks of one shape, in 0..1; NaN when both are empty.

    Raises:
        InputError: the shapes differ.
    """
    p, t = np.asarray(prediction, dtype=bool), np.asarray(truth, dtype=bool)
    if p.shape != t.shape:
        raise InputError(f"prediction: expected the truth's shape {t.shape}, got {p.shape}")
    total = int(p.sum()) + int(t.sum())
    return 2.0 * int((p & t).sum()) / total if total else float("nan")
