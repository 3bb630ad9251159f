"""Boxes, images and masks of any shape map to the network and back alike; and which boxes are valid."""

from __future__ import annotations

import sys
import warnings
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.boxes import box_array, check_boxes
from medsam_edge.errors import BoxError
from medsam_edge.geometry import Geometry

SIDES = (1, 2, 255, 256, 257, 4096)
NETWORK = 256


def random_boxes(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Boxes of whole numbers inside the image, among them the whole image and its last pixel."""
    low = rng.integers(0, [width, height], (8, 2))
    high = low + rng.integers(1, [width, height] - low + 1)
    low[:2], high[:2] = [[0, 0], [width - 1, height - 1]], [width, height]
    return np.concatenate([low, high], axis=1).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), list(product(SIDES, SIDES)))
def test_boxes_images_and_masks_keep_their_place_through_the_network_frame(height: int, width: int) -> None:
    """The scale of each axis is that of the resized image."""
    rng = np.random.default_rng((height, width))
    geometry = Geometry(height, width, NETWORK)
    boxes = random_boxes(rng, height, width)
    prompts = geometry.boxes_to_network(boxes)
    seen = np.array([geometry.new_width, geometry.new_height])
    back = prompts.astype(np.float64) * np.tile([width, height] / seen, 2)
    assert np.abs(back - boxes).max() <= 0.5
    assert (prompts >= 0).all()
    assert (prompts <= np.tile(seen, 2)).all()
    pixel = max(1.0, *([width, height] / seen))  # what one network pixel covers of the image, if more than one pixel
    for box, prompt in zip(boxes, prompts, strict=True):
        if (prompt[2:] - prompt[:2] >= np.minimum(seen, 2)).all():  # a pixel of the network lies wholly inside
            assert mask_error(geometry, box, prompt) <= 0.5 + 0.5 * pixel
            assert image_error(geometry, box, prompt) <= 0.5


def extent(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def mask_error(geometry: Geometry, box: npt.NDArray[np.float32], prompt: npt.NDArray[np.float32]) -> float:
    """Pixels between the user's box and the mask of a network that fills the prompt."""
    centres = np.arange(NETWORK) + 0.5
    inside = [(prompt[axis] <= centres) & (centres < prompt[axis + 2]) for axis in (0, 1)]
    logits = np.where(inside[1][:, None] & inside[0], np.float32(1), np.float32(-1))
    top, left, mask = geometry.mask_to_image(logits)
    found = extent(mask) + np.array([left, top, left, top])
    return float(np.abs(found - box).max())


def image_error(geometry: Geometry, box: npt.NDArray[np.float32], prompt: npt.NDArray[np.float32]) -> float:
    """Network pixels between the prompt and the bright content of the user's box."""
    image = np.zeros((geometry.height, geometry.width), np.uint8)
    x0, y0, x1, y1 = box.astype(int)
    image[y0:y1, x0:x1] = 255
    if image.all():
        return 0.0  # without contrast there is nothing to see
    return float(np.abs(extent(geometry.image_to_network(image)[0] > 0.5) - prompt).max())


def the_rule(boxes: Any, sides: tuple[int, ...]) -> npt.NDArray[np.float32] | None:
    """The expected result of `check_boxes`, computed number by number; None if it must refuse."""
    rows = boxes.tolist() if isinstance(boxes, np.ndarray) else boxes
    if not isinstance(rows, list) or any(isinstance(row, list) != isinstance(rows[0], list) for row in rows):
        return None
    if rows and not isinstance(rows[0], list):
        rows = [rows]
    used = []
    for row in rows:
        if len(row) != 2 * len(sides) or any(type(value) not in (int, float, Fraction) for value in row):
            return None
        near, far = row[: len(sides)], row[len(sides) :]
        if not all(abs(value) <= sys.float_info.max for value in row):
            return None
        if not all(low < high and low < side and high > 0 for low, high, side in zip(near, far, sides, strict=True)):
            return None
        low_high = [
            [np.float32(min(max(v, 0), side)) for v, side in zip(end, sides, strict=True)] for end in (near, far)
        ]
        if not all(low < high for low, high in zip(*low_high, strict=True)):
            return None
        used.append(low_high[0] + low_high[1])
    return np.array(used, np.float32).reshape(-1, 2 * len(sides))


STRANGE = [
    np.nan,
    np.inf,
    -np.inf,
    1e308,
    -1e308,
    10**30,
    -(10**400),
    "7",
    "x",
    None,
    3 + 1j,
    Fraction(7, 2),
    [1],
]


def random_row(rng: np.random.Generator, sides: tuple[int, ...]) -> list[Any]:
    """Mostly a box in or around the image, large or too thin for float32; sometimes something else."""
    columns = 2 * len(sides)
    row: list[Any] = (rng.uniform(-0.4, 1.4, columns) * np.tile(sides, 2)).tolist()
    if rng.random() < 0.5:
        row = np.rint(row).astype(int).tolist()
    if rng.random() < 0.7:
        row = np.sort(np.reshape(row, (2, -1)), axis=0).ravel().tolist()
    if rng.random() < 0.1:
        axis = int(rng.integers(len(sides)))
        row[axis + len(sides)] = row[axis] + 10.0 ** rng.uniform(-12, -4)
    if rng.random() < 0.15:
        row[int(rng.integers(columns))] = STRANGE[int(rng.integers(len(STRANGE)))]
    return row


def random_prompts(rng: np.random.Generator, sides: tuple[int, ...]) -> Any:
    """Rows as a list or an array, a single row, no rows, ragged rows, or another shape."""
    rows = [random_row(rng, sides) for _ in range(int(rng.integers(0, 4)))]
    way = rng.random()
    if way < 0.1 and rows:
        return rows[0]
    if way < 0.2:
        return [*rows, rows[0][:-1]] if rows else [[1, 2, 3]]
    if way < 0.5 and rows and all(type(value) in (int, float) and abs(value) < 1e9 for row in rows for value in row):
        array = np.array(rows)
        dtype = rng.choice([array.dtype.str, "f4", "f8", "i4"])
        return array.astype(dtype)[None] if way < 0.23 else array.astype(dtype)
    return rows


@pytest.mark.parametrize("sides", [(64, 48), (1, 1), (4096, 3), (20, 30, 7), (2, 1, 1)])
def test_check_boxes_follows_the_rule_for_any_input(sides: tuple[int, ...]) -> None:
    rng = np.random.default_rng(sides)
    width, height, depth = (*sides, None)[:3] if len(sides) == 2 else sides
    accepted = refused = 0
    for _ in range(3000):
        boxes = random_prompts(rng, sides)
        expected = the_rule(boxes, sides)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "boxes")
            try:
                used = check_boxes(boxes, height, width, depth)
            except BoxError:
                assert expected is None, boxes
                refused += 1
                continue
        assert expected is not None, boxes
        assert used.dtype == np.float32
        assert np.array_equal(used, expected), boxes
        assert (used >= 0).all()
        assert (used <= np.tile(sides, 2)).all()
        assert (used[:, : len(sides)] < used[:, len(sides) :]).all()
        accepted += len(used)
    assert accepted > 100
    assert refused > 100


@pytest.mark.parametrize(
    "boxes",
    [
        "1,2,3,4", b"1234", None, object(), {1, 2, 3}, {"x0": 1}, [["1", "2", "3", "4"]], [[False, False, True, True]],
        np.array([[1, 2, 3, 4]], complex), np.array([[1, 2, 3, 4]], "M8[s]"), np.array([[1, 2, 3, 4]], str),
        iter([[1, 2, 3, 4]]), [[1, 2, 3, 10**400]], [[1, 2, 3, [4]]], 5, [[[1, 2, 3, 4]]],
    ],
)  # fmt: skip
def test_boxes_that_are_not_numbers_are_refused(boxes: Any) -> None:
    with pytest.raises(BoxError, match="boxes"):
        check_boxes(boxes, 64, 64)
    with pytest.raises(BoxError, match="boxes"):
        box_array(boxes, 4)


@pytest.mark.parametrize(
    "box", [[1, 1, 1 + 1e-9, 9], [63.9999999, 1, 70, 9], [-5, 1, 1e-60, 9], [1e-50, 1e-50, 2e-50, 9]]
)
def test_a_box_without_area_in_32_bits_is_refused(box: list[float]) -> None:
    with pytest.raises(BoxError, match="expected a box with an area"):
        check_boxes([box], 64, 64)
