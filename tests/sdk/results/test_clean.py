from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.prompts import Clicks
from medsam_edge.results.clean import cleaned
from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import Segmentation, VolumeSegmentation

DRAWN = [
    "..........",
    ".####...#.",
    ".#..#.....",
    ".#..###...",
    ".####.....",
    "..........",
    "#.........",
]
MASK = np.array([[sign == "#" for sign in row] for row in DRAWN])
FILLED = np.array([[sign != "." for sign in row] for row in DRAWN])
FILLED[2:4, 2:4] = True
FILLED[1, 8] = FILLED[6, 0] = False


def picture(mask: npt.NDArray[np.bool_], box: list[float], clicks: tuple[Clicks, ...] = ()) -> Segmentation:
    boxes, scores = np.array([box], np.float32), np.ones(1, np.float32)
    masks = (CroppedMask(0, 0, mask),)
    return Segmentation(boxes, scores, masks, np.zeros(mask.shape, np.uint8), None, {}, clicks=clicks)


def test_the_largest_piece_without_holes_and_what_of_it_is_in_the_box() -> None:
    result = picture(MASK, [1, 1, 5, 5])
    assert cleaned(result, "none") is result
    np.testing.assert_array_equal(cleaned(result, "largest").mask(0), FILLED)
    inside = FILLED.copy()
    inside[:, 5:] = False
    np.testing.assert_array_equal(cleaned(result, "box").mask(0), inside)


def test_what_would_be_empty_and_what_is_clicked_on_stays() -> None:
    np.testing.assert_array_equal(cleaned(picture(MASK, [6, 5, 9, 7]), "box").mask(0), MASK)
    click = Clicks(np.array([[8, 1]], np.float32), np.ones(1, np.int64))
    np.testing.assert_array_equal(cleaned(picture(MASK, [1, 1, 5, 5], (click,)), "largest").mask(0), MASK)
    assert not cleaned(picture(np.zeros((0, 0), bool), [1, 1, 5, 5]), "largest").masks[0].pixels.size
    np.testing.assert_array_equal(cleaned(picture(MASK, [np.nan] * 4), "box").mask(0), FILLED)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_keeps_its_largest_piece_in_three_dimensions(axis: int) -> None:
    slices = np.zeros((4, 6, 6), bool)
    slices[0, 1, 1] = slices[1, 1:5, 1:5] = slices[2, 4, 4] = True  # one object, of which a slice has a corner
    slices[1, 2, 2] = False  # a hole
    expected = slices.copy()
    expected[1, 2, 2] = True
    slices[3, 0, 0:3] = True  # touches nothing
    masks: dict[int, Any] = {z: CroppedMask(0, 0, plane) for z, plane in enumerate(slices)}
    shape = np.moveaxis(slices, 0, axis).shape
    low, high = [1.0, 1, 1], [5.0, 5, 5]
    low[2 - axis], high[2 - axis] = 1, 3
    boxes, ones = np.array([[*low, *high]], np.float32), np.ones(1, np.float32)
    result = VolumeSegmentation(boxes, ones, np.ones((1, 4)), (masks,), np.zeros(shape, np.uint8), axis, None, {})
    np.testing.assert_array_equal(np.moveaxis(cleaned(result, "largest").mask(0), axis, 0), expected)
    expected[0] = False
    np.testing.assert_array_equal(np.moveaxis(cleaned(result, "box").mask(0), axis, 0), expected)
