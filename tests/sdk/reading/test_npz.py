from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge import Segmenter
from medsam_edge.boxes import check_boxes
from medsam_edge.errors import BoxError, ImageError
from medsam_edge.reading.read import read_image
from tests.sdk.fake import fake_model
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


def test_boxes_of_python_objects_are_refused_only_where_they_are_wanted(tmp_path: Path) -> None:
    """As in the challenge of 2025: boxes are a list of dictionaries."""
    image = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    for name, boxes in (("list", [{"z_min": 1, "z_max": 2}]), ("one", {"z_min": 1})):
        np.savez(tmp_path / f"{name}.npz", imgs=image, spacing=np.ones(3), boxes=np.array(boxes, dtype=object))
        loaded = read_image(tmp_path / f"{name}.npz")
        assert (loaded.pixels == image).all()
        assert loaded.frame is not None
        segmenter = Segmenter(fake_model())
        assert segmenter.segment(tmp_path / f"{name}.npz", [[0, 0, 0, 3, 3, 2]], "CT").label_map.shape == image.shape
        with pytest.raises(BoxError, match=r"boxes: expected numbers .* got .*Python objects"):
            segmenter.segment(tmp_path / f"{name}.npz", None, "CT")
    np.savez(tmp_path / "image.npz", imgs=np.array([{}], dtype=object))
    with pytest.raises(ImageError, match=r"'imgs' in .* holds Python objects"):
        read_image(tmp_path / "image.npz")


def test_challenge_spacing_is_read_as_x_y_z(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", imgs=np.zeros((3, 4, 5), np.uint8), spacing=np.array([0.5, 0.6, 5.0]))
    frame = read_image(tmp_path / "case.npz").frame
    assert frame is not None
    assert frame.spacing_mm == (0.5, 0.6, 5.0)
    np.savez(tmp_path / "bad.npz", imgs=np.zeros((3, 4, 5), np.uint8), spacing=np.array([0.5, 0, 5.0]))
    with pytest.raises(ImageError, match="spacing: expected three positive numbers"):
        read_image(tmp_path / "bad.npz")
