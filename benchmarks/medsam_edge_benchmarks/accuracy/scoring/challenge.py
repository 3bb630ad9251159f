"""NSD as the challenge's evaluation script takes it, which is not the distance between outlines.

A picture is to the script a volume of one slice with spacing 1, 1, 1. Both faces of that slice are surface, so that all
of the object's area counts, and not its outline alone: a disc of radius 60 whose mask lies 10 pixels aside has 0.93 by
the script and 0.16 by its outline. A volume's spacing is handed over as its file has it, x, y, z, for axes z, y, x.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.geometry import BoolArray
from medsam_edge_train.metrics import TOLERANCE, nsd


def challenge_nsd(mask: BoolArray, truth: BoolArray, spacing: Sequence[float]) -> float:
    """0..1; NaN where both are empty, 0 where one is.

    Args:
        mask, truth: of one shape, (H, W) or (D, H, W).
        spacing: of each axis, in their order; that of a picture is not looked at.
    """
    if mask.ndim == 3:
        return nsd(mask, truth, spacing[::-1])
    (own, near_own), (other, near_other) = _surface(mask), _surface(truth)
    area = own.sum() + other.sum()
    return float((own[near_other].sum() + other[near_own].sum()) / area) if area else float("nan")


def _surface(mask: BoolArray) -> tuple[npt.NDArray[np.float64], BoolArray]:
    """Of one face of (H, W), at all corners of pixels, (H + 1, W + 1): the area of surface there, and what lies within
    `TOLERANCE` of any. What a corner has depends on which of its four pixels are in the mask."""
    from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

    areas = np.asarray(create_table_neighbour_code_to_surface_area((1.0, 1.0, 1.0)))
    padded = np.pad(mask, 1).astype(np.uint8)
    code = 8 * padded[:-1, :-1] + 4 * padded[:-1, 1:] + 2 * padded[1:, :-1] + padded[1:, 1:]
    steps = np.arange(-int(TOLERANCE), int(TOLERANCE) + 1)
    disc = (np.hypot(steps, steps[:, None]) <= TOLERANCE).astype(np.uint8)
    return areas[code], cv2.dilate((code > 0).astype(np.uint8), disc) > 0
