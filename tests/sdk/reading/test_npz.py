from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.boxes import check_boxes
from medsam_edge.errors import BoxError, ImageError
from medsam_edge.reading.read import read_image
from tests.sdk.reading.crafted import RGB


def test_challenge_npz_gives_pixels_and_boxes(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", imgs=RGB, boxes=np.array([[1, 2, 3, 4]]), spacing=np.ones(3))
    loaded = read_image(tmp_path / "case.npz")
    assert (loaded.pixels == RGB).all()
    assert loaded.boxes is not None
    assert loaded.boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64, np.float32])
def test_challenge_boxes_of_volumes_get_an_exclusive_z1(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    boxes = np.array([[1, 2, 0, 3, 4, 2], [1, 2, 1, 3, 4, 255]], dtype)  # 255 + 1 does not fit 8 bits
    np.savez(tmp_path / "case.npz", imgs=np.zeros((256, 4, 5), np.uint8), boxes=boxes)
    loaded = read_image(tmp_path / "case.npz")
    assert loaded.boxes is not None
    assert loaded.boxes.tolist() == [[1, 2, 0, 3, 4, 3], [1, 2, 1, 3, 4, 256]]


def test_boxes_that_are_not_numbers_are_left_to_check_boxes(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", imgs=np.zeros((3, 4, 5), np.uint8), boxes=np.full((1, 6), "a"))
    loaded = read_image(tmp_path / "case.npz")
    assert loaded.pixels.shape == (3, 4, 5)
    with pytest.raises(BoxError, match="expected numbers"):
        check_boxes(loaded.boxes, 4, 5, 3)  # type: ignore[arg-type]


def test_challenge_spacing_is_read_as_x_y_z(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", imgs=np.zeros((3, 4, 5), np.uint8), spacing=np.array([0.5, 0.6, 5.0]))
    frame = read_image(tmp_path / "case.npz").frame
    assert frame is not None
    assert frame.spacing_mm == (0.5, 0.6, 5.0)
    np.savez(tmp_path / "bad.npz", imgs=np.zeros((3, 4, 5), np.uint8), spacing=np.array([0.5, 0, 5.0]))
    with pytest.raises(ImageError, match="spacing: expected three positive numbers"):
        read_image(tmp_path / "bad.npz")
