"""Images in the types of other libraries: the same pixels and the same place as their files."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from medsam_edge.errors import ImageError
from medsam_edge.image import LoadedImage
from medsam_edge.inference.picture import picture_display
from medsam_edge.reading.read import load_image, read_image

GREY = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)
RGB = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def same(taken: Any, expected: np.ndarray) -> None:
    pixels = load_image(taken).pixels
    assert (pixels.dtype, pixels.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(pixels, expected)


def test_pil_images() -> None:
    same(Image.fromarray(GREY), GREY)
    same(Image.fromarray(RGB), RGB)
    same(Image.fromarray(GREY.astype(np.uint16)), GREY.astype(np.uint16))
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    palette.putpalette([9, 8, 7, 200, 100, 50])
    same(palette, np.array([[[9, 8, 7], [200, 100, 50]]], np.uint8))
    with pytest.warns(UserWarning, match="alpha channel, which is dropped"):
        same(Image.fromarray(np.dstack([RGB, GREY])), RGB)
    with pytest.raises(ImageError, match=r"of mode L, RGB, .* got LAB"):
        load_image(Image.new("LAB", (4, 4)))


def test_tensors_and_what_gives_an_array() -> None:
    same(torch.from_numpy(RGB), RGB)
    same(torch.ones(6, 8, requires_grad=True), np.ones((6, 8), np.float32))
    same(torch.ones(6, 8, dtype=torch.bfloat16), np.ones((6, 8), np.float32))


def test_a_nibabel_image_is_its_file(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((0.5, 2.0, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    taken, file = load_image(nibabel.load(tmp_path / "x.nii.gz")), read_image(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(taken.pixels, file.pixels)
    assert taken.frame is not None and file.frame is not None
    for name in ("spacing_mm", "origin_mm", "direction"):
        np.testing.assert_allclose(getattr(taken.frame, name), getattr(file.frame, name), atol=1e-6)
    with pytest.raises(ImageError, match="two or three dimensions"):
        load_image(nibabel.Nifti1Image(np.zeros((2, 3, 4, 5), np.int16), np.eye(4)))
    with pytest.raises(ImageError, match="Analyze images do not say"):
        load_image(nibabel.AnalyzeImage(np.zeros((2, 3, 4), np.int16), np.eye(4)))
    flat = {"dataobj": np.zeros((2, 3, 4), np.int16), "affine": np.zeros((4, 4))}
    with pytest.raises(ImageError, match="gives no axes"):
        load_image(SimpleNamespace(**flat, shape=(2, 3, 4), get_data_dtype=lambda: np.dtype(np.int16)))


def test_a_pydicom_data_set_is_its_file(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(48, dtype=np.int16).reshape(1, 6, 8))
    for tag, value in (("0008|0060", "CT"), ("0028|1052", "-1000"), ("0028|1053", "1")):
        image.SetMetaData(tag, value)
    sitk.WriteImage(image, str(tmp_path / "x.dcm"))
    taken, file = load_image(pydicom.dcmread(tmp_path / "x.dcm")), read_image(tmp_path / "x.dcm")
    np.testing.assert_array_equal(taken.pixels, file.pixels)
    assert taken.modality == file.modality
    assert taken.frame is not None and taken.frame.dicom_files == ()
    with pytest.raises(ImageError, match="has none"):
        load_image(pydicom.dcmread(tmp_path / "x.dcm", stop_before_pixels=True))


def test_bytes_and_open_files(tmp_path: Path) -> None:
    for suffix in (".png", ".bmp", ".tif"):
        raw = cv2.imencode(suffix, RGB[:, :, ::-1])[1].tobytes()
        for given in (raw, bytearray(raw), memoryview(raw), io.BytesIO(raw)):
            same(given, RGB)
    sitk.WriteImage(sitk.GetImageFromArray(GREY), str(tmp_path / "x.mha"))
    with (tmp_path / "x.mha").open("rb") as file:
        same(file, GREY)
        with pytest.raises(ImageError, match="got 0 bytes"):  # it has been read to its end
            load_image(file)
    with pytest.raises(ImageError, match="binary mode"):
        load_image(io.StringIO("text"))
    with pytest.raises(ImageError, match="image: the bytes is cut"):
        load_image(raw_png := cv2.imencode(".png", GREY)[1].tobytes()[:60])
    assert len(raw_png) == 60


def test_other_things_are_refused_by_name() -> None:
    for thing in ([[1]], {"a": 1}, 3, None):
        with pytest.raises(ImageError, match=f"expected an array, a tensor, .* got {type(thing).__name__}"):
            load_image(thing)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 8, 4), r"RGB with alpha \(RGBA\); take image\[..., :3\]"),
        ((6, 8, 2), "grey with alpha"),
        ((6, 8, 1), "one channel"),
        ((3, 6, 8), r"channels first; take np.moveaxis\(image, 0, -1\)"),
        ((1, 3, 6, 8), "a batch"),
    ],
)
def test_arrays_of_other_layouts_are_named(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        picture_display(LoadedImage(np.zeros(shape, np.uint8)), None, None)


def test_the_exif_orientation_is_applied_or_not(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    Image.fromarray(GREY).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").pixels.shape == (8, 6)
    assert read_image(tmp_path / "x.jpg", exif_rotation=False).pixels.shape == (6, 8)
