"""Dice similarity coefficient, the one score that demo, training and conversion need."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def dice(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """DSC = 2·|P∩T| / (|P| + |T|) of two masks of one shape, in 0..1; NaN when both are empty."""
    p, t = np.asarray(prediction, dtype=bool), np.asarray(truth, dtype=bool)
    total = int(p.sum()) + int(t.sum())
    return 2.0 * int((p & t).sum()) / total if total else float("nan")
