from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import InputError, Segmentation, Segmenter
from medsam_edge.geometry import Geometry
from medsam_edge.propagation import Corrected, Published
from medsam_edge.result import CroppedMask, VolumeSegmentation
from tests.sdk.fake import SIZE, FakeDecoder, fake_model

START = np.array([5, 6, 7, 8], np.float32)


def block(top: int, left: int, height: int, width: int) -> CroppedMask:
    return CroppedMask(top, left, np.ones((height, width), bool))


NOTHING = CroppedMask(0, 0, np.zeros((0, 0), bool))


class Recorder(FakeDecoder):
    """Keeps the prompts, in network pixels."""

    def __init__(self) -> None:
        super().__init__(0)
        self.boxes: list[list[float]] = []

    def infer(self, inputs: Any) -> dict[str, npt.NDArray[Any]]:
        self.boxes += inputs["boxes"].tolist()
        return super().infer(inputs)


def recording() -> tuple[Segmenter, Recorder]:
    model, recorder = fake_model(), Recorder()
    return Segmenter(type(model)(model.encoder, recorder, SIZE, "recording")), recorder


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (block(40, 20, 10, 30), [14, 34, 56, 56]),  # two image pixels to a network pixel: six on each side
        (block(2, 90, 10, 8), [84, 0, 100, 18]),  # the image is 100 wide, 128 high
        (block(120, 0, 8, 4), [0, 114, 10, 128]),
        (NOTHING, START.tolist()),
    ],
)
def test_the_corrected_rule_by_hand(mask: CroppedMask, expected: list[float]) -> None:
    geometry = Geometry(128, 100, SIZE)
    for label in (1, 200):
        assert Corrected().follow(mask, label, START, geometry).tolist() == expected


@pytest.mark.parametrize(
    ("mask", "label", "expected"),
    [
        (block(40, 20, 10, 30), 9, [7, 17, 27, 27]),  # network columns 10–24, rows 20–24; far edge: last pixel + 3
        (block(2, 90, 10, 8), 9, [42, 0, 51, 8]),  # up to column 48: 48 + 3 is beyond the image's 50
        (block(120, 0, 8, 4), 9, [0, 57, 4, 64]),  # row 63 + 3, cut at the square
        (block(40, 20, 1, 1), 1, START.tolist()),  # a quarter of a network pixel of label 1 rounds down to nothing …
        (block(40, 20, 1, 1), 3, [7, 17, 13, 23]),  # … of label 3 to something
        (NOTHING, 9, START.tolist()),
    ],
)
def test_the_published_rule_by_hand(mask: CroppedMask, label: int, expected: list[float]) -> None:
    assert Published().follow(mask, label, START, Geometry(128, 100, SIZE)).tolist() == expected


def test_published_boxes_lose_their_fraction_in_network_pixels() -> None:
    boxes = np.array([[3, 5, 31, 127], [0.9, 2, 99.9, 128]], np.float32)
    assert Published().start(boxes, Geometry(128, 100, SIZE)).tolist() == [[1, 2, 15, 63], [0, 1, 49, 64]]
    assert Corrected().start(boxes, Geometry(128, 100, SIZE)) is boxes


def test_published_rule_on_a_picture() -> None:
    segmenter, recorder = recording()
    image = np.zeros((128, 100), np.uint8)
    result = segmenter.segment(image, [[3, 5, 31, 127]], compat="rep-medsam")
    assert isinstance(result, Segmentation)
    assert recorder.boxes == [[1, 2, 15, 63]]
    assert result.boxes.tolist() == [[3, 5, 31, 127]]
    rows, columns = np.nonzero(result.mask(0))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (2, 4, 30, 126)
    segmenter.segment(image, [[3, 5, 31, 127]])
    assert recorder.boxes[1] == [1.5, 2.5, 15.5, 63.5]


def test_published_rule_in_a_volume() -> None:
    """The mask is the prompt: each next box grows by 3 at its near edges and by 2 at its far ones."""
    segmenter, recorder = recording()
    result = segmenter.segment(
        np.zeros((7, SIZE, 50), np.uint8), [[20.7, 30, 1, 45, 40, 5]], compat="rep-medsam", streams=0
    )
    assert isinstance(result, VolumeSegmentation)
    assert recorder.boxes == [
        [20, 30, 45, 40],  # slice 3: z_mid of 1 and 5, where 5 is the last slice
        [17, 27, 47, 42],  # 4
        [14, 24, 49, 44],  # 5
        [17, 27, 47, 42],  # 2
        [14, 24, 49, 44],  # 1
    ]
    assert np.flatnonzero(result.mask(0).any(axis=(1, 2))).tolist() == [1, 2, 3, 4, 5]
    assert result.boxes[0].tolist() == pytest.approx([20.7, 30, 1, 45, 40, 6])


def test_published_boxes_reach_into_the_padding() -> None:
    segmenter, recorder = recording()
    segmenter.segment(np.zeros((2, SIZE, 50), np.uint8), [[40, 30, 0, 50, 40, 1]], compat="rep-medsam", streams=0)
    assert recorder.boxes == [[40, 30, 50, 40], [37, 27, 52, 42]]


def test_published_labels_have_eight_bits() -> None:
    with pytest.raises(InputError, match="at most 255 boxes"):
        Published().follow(block(1, 1, 2, 2), 256, START, Geometry(64, 64, SIZE))
