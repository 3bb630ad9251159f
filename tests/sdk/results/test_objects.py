"""Results as sequences of objects, and how they show themselves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from medsam_edge import InputError, Segmenter
from tests.sdk.fake import SIZE, fake_model

NOISE = np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE), dtype=np.uint8)


def test_objects_of_a_picture() -> None:
    result = Segmenter(fake_model()).segment(NOISE[0], [[8, 16, 24, 20], [0, 0, 4, 4]], "MR")
    assert len(result) == 2
    first, second = result
    assert first.box.tolist() == [8, 16, 24, 20]
    assert (first.mask == result.mask(0)).all()
    assert first.score == pytest.approx(0.524)
    assert second.box.tolist() == result[-1].box.tolist() == [0, 0, 4, 4]
    for index in (2, -3, "0", 1.0, slice(0, 1)):
        with pytest.raises(InputError, match="index: expected a box number below 2"):
            result[index]  # type: ignore[index]


def test_objects_of_a_volume() -> None:
    result = Segmenter(fake_model()).segment(NOISE, [[8, 16, 1, 24, 20, 3]], "MR")
    (only,) = result
    assert only.box.tolist() == [8, 16, 1, 24, 20, 3]
    assert only.mask.shape == NOISE.shape
    assert np.flatnonzero(only.mask.any(axis=(1, 2))).tolist() == [1, 2]


def test_repr_is_one_line() -> None:
    segmenter = Segmenter(fake_model())
    picture = segmenter.segment(NOISE[0], [[8, 16, 24, 20]], "MR")
    assert repr(picture) == "<Segmentation of 64×64, MR: 1 objects, scores [0.52]>"
    volume = segmenter.segment(NOISE, [[8, 16, 1, 24, 20, 3]] * 7)
    assert repr(volume) == (
        "<VolumeSegmentation of 5×64×64, unknown modality: 7 objects, scores [0.52, 0.52, 0.52, 0.52, 0.52, …]>"
    )


@pytest.mark.parametrize("boxes", [[[8, 16, 24, 20]], [[8, 16, 1, 24, 20, 3]], []])
def test_a_notebook_shows_the_overlay(boxes: list[list[int]]) -> None:
    image = NOISE if not boxes or len(boxes[0]) == 6 else NOISE[0]
    result = Segmenter(fake_model()).segment(image, boxes)
    shown = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert (cv2.cvtColor(shown, cv2.COLOR_BGR2RGB) == result.overlay()).all()
