from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge.errors import ImageError, InputError
from medsam_edge.image import Frame
from medsam_edge.reading.read import read_image
from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.overlay import color
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.segmenter import Segmenter
from tests.sdk.fake import fake_model


def result(frame: Frame | None = None, count: int = 2) -> Segmentation:
    """Object 1 is a 2×3 block at row 1, column 2; object 2 covers its last column and one more."""
    masks = (CroppedMask(1, 2, np.ones((2, 3), bool)), CroppedMask(1, 4, np.ones((1, 2), bool)))[:count]
    boxes = np.array([[2, 1, 5, 3], [4, 1, 6, 2]], np.float32)[:count]
    scores = np.array([0.9, 0.8], np.float32)[:count]
    return Segmentation(boxes, scores, masks, np.full((4, 7), 100, np.uint8), None, {}, frame=frame)


def test_label_map_later_wins() -> None:
    expected = [[0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2, 0], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0]]
    labels = result().label_map
    assert labels.dtype == np.uint16
    assert labels.tolist() == expected
    with pytest.raises(ValueError, match="read-only"):
        labels[0, 0] = 1


def test_label_map_score_wins() -> None:
    values = result()
    by_score = Segmentation(values.boxes, values.scores, values.masks, values.display, None, {}, overlap="score")
    assert by_score.label_map[1].tolist() == [0, 0, 1, 1, 1, 2, 0]


def test_mask_is_whole_whatever_the_label_map_says() -> None:
    assert np.argwhere(result().mask(0)).tolist() == [[1, 2], [1, 3], [1, 4], [2, 2], [2, 3], [2, 4]]
    assert (result().mask(-1) == result().mask(1)).all()
    with pytest.raises(InputError, match="index"):
        result().mask(2)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_save_picture(tmp_path: Path, suffix: str) -> None:
    path = result().save(tmp_path / "new" / f"labels{suffix}")
    assert (read_image(path).pixels == result().label_map).all()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_save_npz(tmp_path: Path) -> None:
    path = result().save(tmp_path / "labels.npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert (arrays["segs"] == result().label_map).all()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_save_medical_keeps_the_frame(tmp_path: Path, suffix: str) -> None:
    frame = Frame((0.5, 0.7, 3.0), (1.0, -2.0, 30.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    image = sitk.ReadImage(str(result(frame).save(tmp_path / f"labels{suffix}")))
    assert image.GetSpacing() == pytest.approx(frame.spacing_mm)
    assert image.GetOrigin() == pytest.approx(frame.origin_mm)
    assert image.GetDirection() == pytest.approx(frame.direction)
    assert (sitk.GetArrayFromImage(image)[0] == result().label_map).all()


@pytest.mark.parametrize("name", ["A.PNG", "A.NPZ", "A.NII.GZ", "A.NRRD", "A.MHA"])
def test_save_with_a_suffix_in_capitals(tmp_path: Path, name: str) -> None:
    path = result().save(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    values = np.load(path)["segs"] if name == "A.NPZ" else read_image(path).pixels
    assert (values == result().label_map).all()


@pytest.mark.parametrize("name", ["labels.jpg", "labels", "labels.txt"])
def test_save_refuses_other_suffixes_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="expected one of"):
        result().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_more_than_255_labels_are_written_in_16_bits(tmp_path: Path) -> None:
    masks = tuple(CroppedMask(index // 20, index % 20, np.ones((1, 1), bool)) for index in range(300))
    many = Segmentation(
        np.zeros((300, 4), np.float32), np.zeros(300, np.float32), masks, np.zeros((20, 20), np.uint8), None, {}
    )
    read = cv2.imread(str(many.save(tmp_path / "many.png")), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    assert read.max() == 300
    with pytest.raises(ImageError, match=r"output: expected png or tif for 16 bits, .* got many\.bmp"):
        many.save(tmp_path / "many.bmp")
    assert [file.name for file in tmp_path.iterdir()] == ["many.png"]


def test_more_boxes_than_a_label_map_counts() -> None:
    scores, pixel = np.zeros(2**16, np.float32), CroppedMask(0, 0, np.ones((1, 1), bool))
    boxes, display = np.zeros((2**16, 4), np.float32), np.zeros((1, 1), np.uint8)
    with pytest.raises(InputError, match="at most 65535 in a label map, got 65536"):
        Segmentation(boxes, scores, (pixel,) * 2**16, display, None, {}).label_map.max()


def test_overlay_tints_the_mask_and_leaves_the_rest() -> None:
    one = result(count=1)
    picture = one.overlay()
    assert picture.shape == (4, 7, 3)
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[1, 2].tolist() == list(color(0))  # on the outline and on the box
    assert (one.display == 100).all()


def test_overlay_of_a_picture_whose_channels_lie_first_in_memory() -> None:
    image = np.random.default_rng(0).random((3, 64, 64), np.float32)
    views = (image.transpose(1, 2, 0), np.ascontiguousarray(image.transpose(1, 2, 0)))
    first, second = (Segmenter(fake_model()).segment(view, [[10, 10, 40, 40]]).overlay() for view in views)
    assert (first == second).all()


def test_colors_differ() -> None:
    assert len({color(index) for index in range(50)}) == 50


def volume_result(axis: int = 0, frame: Frame | None = None) -> VolumeSegmentation:
    """On slices of 4 × 5 (3 of them along axis 0): object 1 is a block on slices 0 and 1, object 2 a pixel on 1."""
    masks = (
        {0: CroppedMask(1, 2, np.ones((2, 3), bool)), 1: CroppedMask(1, 2, np.ones((1, 1), bool))},
        {1: CroppedMask(1, 2, np.ones((1, 1), bool)), 2: CroppedMask(0, 0, np.zeros((0, 0), bool))},
    )
    shape = [4, 5]
    shape.insert(axis, 3)
    scores = np.array([0.9, 0.8], np.float32)
    slice_scores = np.array([[0.9, 0.9, np.nan], [np.nan, 0.8, 0.8]], np.float32)
    boxes = np.array([[2, 1, 0, 5, 3, 2], [2, 1, 1, 3, 2, 3]], np.float32)
    display = np.full(shape, 100, np.uint8)
    return VolumeSegmentation(boxes, scores, slice_scores, masks, display, axis, None, {}, frame=frame)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volume_label_map_along_each_axis(axis: int) -> None:
    expected = np.zeros((3, 4, 5), np.uint16)
    expected[0, 1:3, 2:5] = 1
    expected[1, 1, 2] = 2  # the later owns it
    result = volume_result(axis)
    assert (np.moveaxis(result.label_map, axis, 0) == expected).all()
    assert np.moveaxis(result.mask(0), axis, 0)[1, 1, 2]
    assert (len(result), result.middles) == (2, [0, 1])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_save_volume_keeps_the_frame(tmp_path: Path, suffix: str) -> None:
    frame = Frame((0.5, 0.7, 3.0), (1.0, -2.0, 30.0), (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0))
    result = volume_result(frame=frame)
    image = sitk.ReadImage(str(result.save(tmp_path / f"labels{suffix}")))
    assert image.GetSpacing() == pytest.approx(frame.spacing_mm)
    assert image.GetOrigin() == pytest.approx(frame.origin_mm)
    assert image.GetDirection() == pytest.approx(frame.direction)
    assert (sitk.GetArrayFromImage(image) == result.label_map).all()


@pytest.mark.parametrize("name", ["labels.png", "labels.tif", "labels.jpg"])
def test_a_volume_is_not_saved_as_a_picture(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"expected one of \.npz \.nii \.nii\.gz \.nrrd \.mha \.dcm for a volume"):
        volume_result().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
