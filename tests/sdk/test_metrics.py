from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.errors import InputError
from medsam_edge.metrics import dice


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [
        ([[1, 1], [0, 0]], [[1, 1], [0, 0]], 1.0),
        ([[1, 1], [0, 0]], [[0, 0], [1, 1]], 0.0),
        ([[1, 1], [0, 0]], [[1, 0], [0, 0]], 2 / 3),
        ([[1, 1], [1, 1]], [[1, 0], [0, 0]], 2 / 5),
        ([[0, 0], [0, 0]], [[1, 0], [0, 0]], 0.0),
        ([[2, 7], [0, 0]], [[True, False], [False, True]], 1 / 2),
    ],
)
def test_dice_of_small_masks_by_hand(prediction: npt.ArrayLike, truth: npt.ArrayLike, expected: float) -> None:
    assert dice(prediction, truth) == pytest.approx(expected, abs=1e-15)
    assert dice(truth, prediction) == pytest.approx(expected, abs=1e-15)


def test_two_empty_masks_are_undefined() -> None:
    assert math.isnan(dice(np.zeros((3, 3)), np.zeros((3, 3))))


def test_counts_do_not_overflow_a_small_type() -> None:
    full = np.ones((40, 40), dtype=np.uint8)
    assert dice(full, full) == 1.0


def test_dice_of_volumes() -> None:
    truth = np.zeros((2, 3, 4), dtype=bool)
    truth[1] = True
    assert dice(np.ones((2, 3, 4)), truth) == pytest.approx(24 / 36)


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(4, 1\), got \(4, 4\)"):
        dice(np.ones((4, 4)), np.ones((4, 1)))
