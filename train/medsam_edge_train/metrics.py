"""Normalized surface Dice, computed by the library that the challenge uses."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TOLERANCE = 2.0
"""Tolerance of the challenge: pixels in 2D (spacing 1), mm in 3D."""


def nsd(
    mask: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.bool_],
    spacing: Sequence[float] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Share of both surfaces that lies within `tolerance` of the other surface (Nikolov et al., 2018).

    Args:
        mask, truth: bool arrays of the same shape, (H, W) or (D, H, W).
        spacing: distance of pixels along each axis, in the unit of `tolerance`; None for ones.

    Returns:
        NSD in 0..1; 0 if one of the two is empty, NaN if both are.
    """
    if not mask.any() or not truth.any():
        return 0.0 if mask.any() or truth.any() else float("nan")
    import surface_distance

    with warnings.catch_warnings():  # the library uses a deprecated name of scipy's
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        distances = surface_distance.compute_surface_distances(truth, mask, spacing or [1.0] * mask.ndim)
        return float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance))
