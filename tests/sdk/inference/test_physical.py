from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from pydicom.uid import SecondaryCaptureImageStorage

from medsam_edge import BoxError, ImageError, InputError, Segmentation, Segmenter
from medsam_edge.cli.main import main
from medsam_edge.image import Frame
from medsam_edge.inference.physical import boxes_to_pixels
from medsam_edge.reading.read import read_image
from medsam_edge.writing.picture import write_picture
from tests.sdk.dicoms import dataset, write
from tests.sdk.fake import SIZE, fake_model

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def frame_of(image: Any) -> Frame:
    return Frame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def test_half_a_voxel_lies_between_centres_and_edges() -> None:
    """Voxels of 2 × 3 × 5 mm; the first has its centre at 10, 20, 30: from 9, 18.5, 27.5 to 11, 21.5, 32.5."""
    frame = Frame((2.0, 3.0, 5.0), (10.0, 20.0, 30.0), IDENTITY)
    assert boxes_to_pixels([[9, 18.5, 27.5, 11, 21.5, 32.5]], frame).tolist() == [[0, 0, 0, 1, 1, 1]]
    assert boxes_to_pixels([[10, 20, 30, 16, 32, 55]], frame).tolist() == [[0.5, 0.5, 0.5, 3.5, 4.5, 5.5]]
    turned = Frame((2.0, 3.0, 5.0), (10.0, 20.0, 30.0), (-1.0, 0, 0, 0, 0, 1.0, 0, 1.0, 0))  # −x, z, y
    assert boxes_to_pixels([[11, 17.5, 28.5, 5, 27.5, 31.5]], turned).tolist() == [[0, 0, 0, 3, 1, 2]]


def test_boxes_of_two_dimensions() -> None:
    frame = Frame((0.5, 0.25), (100.0, -50.0), (0.0, -1.0, 1.0, 0.0))  # columns run along y, rows against x
    assert boxes_to_pixels([[100.125, -50.25, 99.125, -46.75]], frame).tolist() == [[0, 0, 7, 4]]


def turned(rng: np.random.Generator, dimensions: int) -> list[float]:
    """Any direction, left-handed ones too."""
    return np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0].ravel().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_box_bounds_all_corners_as_simpleitk_places_them(dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    for _ in range(200):
        image = sitk.Image([4] * dimensions, sitk.sitkUInt8)
        image.SetSpacing(rng.uniform(0.2, 6, dimensions).tolist())
        image.SetOrigin(rng.uniform(-300, 300, dimensions).tolist())
        image.SetDirection(turned(rng, dimensions))
        box = rng.uniform(-400, 400, 2 * dimensions)
        corners = np.array(list(product(*zip(box[:dimensions], box[dimensions:], strict=True))))
        centred = [image.TransformPhysicalPointToContinuousIndex(corner.tolist()) for corner in corners]
        expected = np.concatenate([np.min(centred, axis=0), np.max(centred, axis=0)]) + 0.5
        np.testing.assert_allclose(boxes_to_pixels([box], frame_of(image))[0], expected, rtol=1e-9, atol=1.001e-3)


def test_what_32_bits_round_off_brings_in_no_further_slice() -> None:
    """A header's 0.7 is 0.699999988: after 300 voxels the edge lies 5e-6 voxels beyond where it was meant."""
    frame = Frame((float(np.float32(0.7)),) * 3, (0.0, 0.0, 0.0), IDENTITY)
    box = (np.array([290, 291, 292, 300, 301, 302]) - 0.5) * 0.7
    assert boxes_to_pixels(box, frame).tolist() == [[290, 291, 292, 300, 301, 302]]
    moved = box + 0.7 * 2e-3
    assert boxes_to_pixels(moved, frame)[0] == pytest.approx([290.002, 291.002, 292.002, 300.002, 301.002, 302.002])


def medical(pixels: npt.NDArray[Any]) -> Any:
    image = sitk.GetImageFromArray(pixels)
    dimensions = image.GetDimension()
    image.SetSpacing((0.5, 0.75, 3.0)[:dimensions])
    image.SetOrigin((10.0, -20.0, 30.0)[:dimensions])
    return image


def test_a_volume_a_picture_and_a_slice_of_a_volume(tmp_path: Path) -> None:
    """The fake's mask is its box. Results have their boxes in pixels."""
    segmenter = Segmenter(fake_model())
    pixels = np.random.default_rng(0).integers(0, 255, (5, SIZE, SIZE), dtype=np.uint8)
    box = [13.75, -14.375, 31.5, 21.75, -2.375, 40.5]  # from 8 to 24, 8 to 24, slices 1 to 3
    for image in (medical(pixels), tmp_path / "volume.nii.gz"):
        if isinstance(image, Path):
            sitk.WriteImage(medical(pixels), str(image))
        result = segmenter.segment(image, [box], box_space="physical")
        assert result.boxes.tolist() == [[8, 8, 1, 24, 24, 4]]
        assert (result.mask(0) == segmenter.segment(pixels, result.boxes).mask(0)).all()
    picture = segmenter.segment(medical(pixels[0]), [[21.75, -14.375, 13.75, -2.375]], box_space="physical")
    assert picture.boxes.tolist() == [[8, 8, 24, 24]]
    slice_ = segmenter.segment(medical(pixels[:1]), [[13.75, -14.375, 31.5, 21.75, -2.375, 28.5]], box_space="physical")
    assert slice_.label_map.shape == (1, SIZE, SIZE)
    assert np.array_equal(slice_.mask(0)[0], picture.mask(0))
    assert segmenter.segment(medical(pixels), np.zeros((0, 6)), box_space="physical").boxes.shape == (0, 6)


def in_colour(path: Path, pixels: npt.NDArray[Any]) -> Path:
    """An RGB slice with a place in the patient: its first pixel's centre is at 10, -20, 30."""
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    data = dataset(pixels, SecondaryCaptureImageStorage, Rows=pixels.shape[0], Columns=pixels.shape[1], **tags)
    del data.NumberOfFrames
    data.ImagePositionPatient, data.ImageOrientationPatient = [10, -20, 30], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.75, 0.5], 3
    return write(path, data)


@pytest.mark.parametrize("kind", ["image", "a.dcm", "a.nrrd", "a.mha"])
def test_a_slice_in_colour_lies_in_the_patient_too(tmp_path: Path, kind: str) -> None:
    """Its boxes in mm have six numbers, as those of a grey slice; its masks are those of a picture."""
    segmenter = Segmenter(fake_model())
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    image: Any = sitk.GetImageFromArray(pixels[None], isVector=True)
    image.SetSpacing((0.5, 0.75, 3.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    path = tmp_path / kind
    if kind == "a.dcm":
        image = in_colour(path, pixels)
    elif kind != "image":
        sitk.WriteImage(image, str(path))
        image = path
    result = segmenter.segment(image, [[13.75, -14.375, 30.4, 21.75, -2.375, 29.6]], box_space="physical")
    expected = segmenter.segment(pixels, [[8, 8, 24, 24]])
    assert isinstance(result, Segmentation)
    assert result.boxes.tolist() == [[8, 8, 24, 24]]
    assert np.array_equal(result.mask(0), expected.mask(0))
    assert sitk.ReadImage(str(result.save(tmp_path / "labels.nrrd"))).GetOrigin() == pytest.approx((10, -20, 30))
    assert len(segmenter.segment(image, np.zeros((0, 6)), box_space="physical")) == 0
    with pytest.raises(BoxError, match="meets the 64x64x1 volume"):
        segmenter.segment(image, [[13.75, -14.375, 131.5, 21.75, -2.375, 128.5]], box_space="physical")
    with pytest.raises(ImageError, match=r"\(N, 6\) are for volumes, \(D, H, W\); got \(64, 64, 3\) in colour"):
        segmenter.segment(image, [[0, 1, 1, 3, 9, 9]])


def test_the_command_saves_the_labels_of_a_slice_in_colour_as_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medsam_edge.cli.segment.Segmenter", lambda *_, **__: Segmenter(fake_model()))
    image = in_colour(tmp_path / "a.dcm", np.zeros((SIZE, SIZE, 3), np.uint8))
    words = ["segment", str(image), "--box", "13.75,-14.375,29.6,21.75,-2.375,30.4", "--box-space", "physical"]
    assert main([*words, "-o", str(tmp_path / "labels.png")]) == 0
    assert read_image(tmp_path / "labels.png").pixels.shape == (SIZE, SIZE)


def test_boxes_of_volumes_are_refused_for_pictures_in_colour(tmp_path: Path) -> None:
    for name in ("x.png", "x.tif"):
        write_picture(tmp_path / name, np.zeros((20, 24, 3), np.uint8))
        with pytest.raises(ImageError, match="in colour"):
            Segmenter(fake_model()).segment(tmp_path / name, [[0, 1, 1, 3, 9, 9]])


VOLUME = medical(np.zeros((4, 9, 9), np.uint8))
BOX = [[11, -19, 30, 13, -16, 36]]


@pytest.mark.parametrize(
    ("image", "boxes", "settings", "error", "message"),
    [
        (np.zeros((4, 9, 9), np.uint8), BOX, {}, InputError, "knows its spacing and origin"),
        (np.zeros((9, 9), np.uint8), [[1, 1, 5, 5]], {}, InputError, "knows its spacing and origin"),
        (VOLUME[:, :, 0:1], [[11, -19, 13, -16]], {}, BoxError, r"\(N, 6\).*got \(1, 4\); in mm of a file of 3 dim"),
        (medical(np.zeros((9, 9), np.uint8)), BOX, {}, InputError, r"shape \(N, 4\).*in mm of a file of 2 dimensions"),
        (VOLUME, [[11, -19, 30, 11, -16, 36]], {}, BoxError, r"boxes\[0\]: expected two corners of a box in mm"),
        (VOLUME, [BOX[0], [11, -19, 30, np.nan, -16, 36]], {}, BoxError, r"boxes\[1\]: expected two corners"),
        (VOLUME, [["a", -19, 30, 12, -16, 36]], {}, BoxError, "expected numbers"),
        (VOLUME, [[111, -19, 30, 113, -16, 36]], {}, BoxError, "meets the 9x9x4 volume"),
        (VOLUME, BOX, {"box_space": "mm"}, InputError, "box_space: expected 'pixel' or 'physical', got 'mm'"),
        (VOLUME, BOX, {"compat": "rep-medsam"}, InputError, "box_space: compat='rep-medsam'"),
    ],
)
def test_what_cannot_be_placed_is_refused(
    image: Any, boxes: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Segmenter(fake_model()).segment(image, boxes, **{"box_space": "physical", **settings})
