from __future__ import annotations

import math

import numpy as np
import pytest

from medsam_edge_train.metrics import nsd


def square(top: int, left: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((64, 64), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_within_the_tolerance_is_perfect(shift: int) -> None:
    assert nsd(square(10, 10 + shift), square(10, 10)) == 1


def test_a_shift_beyond_the_tolerance_by_hand() -> None:
    # shifted by 4 along x, of each outline of 80: the two sides along x but for 2 pixels (2 · 18), and of the
    # side that lies inside the other square the 2 pixels at either end, next to the other's sides along x: 40
    value = nsd(square(10, 14), square(10, 10))
    assert value == pytest.approx(40 / 80, abs=0.04)  # outlines run between pixels: corners are cut
    assert nsd(square(10, 14), square(10, 10), tolerance=4) == 1


def test_spacing_scales_distances() -> None:
    assert nsd(square(10, 14), square(10, 10), spacing=(0.5, 0.5)) == 1
    assert nsd(square(10, 11), square(10, 10), spacing=(3, 3)) < 1


def test_volumes_take_the_spacing_of_each_axis() -> None:
    mask = np.zeros((16, 16, 16), dtype=bool)
    mask[4:12, 4:12, 4:12] = True
    assert nsd(mask, mask) == 1
    assert nsd(np.roll(mask, 3, 0), mask, spacing=(5.0, 1.0, 1.0)) < nsd(np.roll(mask, 3, 0), mask) < 1


def test_one_empty_mask_gives_zero_and_two_give_nan() -> None:
    empty = np.zeros((64, 64), dtype=bool)
    assert nsd(empty, square(10, 10)) == 0
    assert nsd(square(10, 10), empty) == 0
    assert math.isnan(nsd(empty, empty))
