"""Where a single image lies and how large its pixels are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medsam_edge.errors import ImageError, InputError
from medsam_edge.image import Frame
from medsam_edge.inference.physical import boxes_to_pixels
from medsam_edge.reading.read import read_image
from tests.sdk.dicoms import OBLIQUE, PIXELS, dataset, normal, place, write

RADIOGRAPHS = {"CR": "1.1", "DX": "1.1.1", "MG": "1.1.2", "IO": "1.1.3", "XA": "12.1", "RF": "12.2"}


def frame_of(folder: Path, kind: str = "7", **tags: Any) -> Frame:
    path = write(folder / "x.dcm", dataset(PIXELS, f"1.2.840.10008.5.1.4.1.1.{kind}", **tags))
    frame = read_image(path).frame
    assert frame is not None
    assert frame.dicom_files == (path,)
    return frame


@pytest.mark.parametrize("modality", RADIOGRAPHS)
def test_pixel_spacing_goes_before_that_on_the_detector(tmp_path: Path, modality: str) -> None:
    kind = RADIOGRAPHS[modality]
    for other in ({}, {"ImagerPixelSpacing": [0.2, 0.21]}):
        frame = frame_of(tmp_path, kind, Modality=modality, PixelSpacing=[0.14, 0.15], **other)
        assert frame.spacing_mm == pytest.approx((0.15, 0.14, 1))
        assert frame.has_spacing


def test_the_detectors_spacing_is_magnified_or_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"x\.dcm has the size of a pixel on the detector only"):
        frame = frame_of(tmp_path, ImagerPixelSpacing=[0.2, 0.3])
    assert frame.spacing_mm == pytest.approx((0.3, 0.2, 1))
    frame = frame_of(tmp_path, ImagerPixelSpacing=[0.2, 0.3], EstimatedRadiographicMagnificationFactor=2)
    assert frame.spacing_mm == pytest.approx((0.15, 0.1, 1))
    assert frame_of(tmp_path, NominalScannedPixelSpacing=[0.2, 0.3]).spacing_mm == pytest.approx((0.3, 0.2, 1))


def region(delta: float, delta_y: float | None = None, unit: int = 3, form: int = 1) -> Dataset:
    made = Dataset()
    made.RegionSpatialFormat, made.PhysicalUnitsXDirection, made.PhysicalUnitsYDirection = form, unit, unit
    made.PhysicalDeltaX, made.PhysicalDeltaY = delta, delta if delta_y is None else delta_y
    return made


@pytest.mark.parametrize(
    ("regions", "spacing"),
    [
        ([region(0.012)], (0.12, 0.12)),
        ([region(0.012, -0.015)], (0.12, 0.15)),
        ([region(0.012), region(0.012)], (0.12, 0.12)),
        ([region(0.012), region(0.5, form=2), region(0.5, unit=4)], (0.12, 0.12)),  # M-mode, and seconds
        ([region(0.012), region(0.02)], None),
        ([region(0.0)], None),
        ([region(0.012, unit=4)], None),
        ([], None),
    ],
)
def test_ultrasound_has_the_spacing_of_its_regions(
    tmp_path: Path, regions: list[Dataset], spacing: tuple[float, float] | None
) -> None:
    """Boxes in mm go by it; they are refused where the file does not say how large a pixel is."""
    frame = frame_of(tmp_path, "6.1", Modality="US", SequenceOfUltrasoundRegions=regions)
    assert frame.spacing_mm[:2] == pytest.approx(spacing or (1, 1))
    assert frame.has_spacing == (spacing is not None)
    box = [[-0.06, -0.06, -0.5, 0.42, 0.3, 0.5]]
    if spacing is None:
        with pytest.raises(InputError, match=r"'physical' needs the size of a pixel, which .*x\.dcm does not say"):
            boxes_to_pixels(box, frame)
    elif spacing == (0.12, 0.12):
        assert boxes_to_pixels(box, frame)[0] == pytest.approx([0, 0, 0, 4, 3, 1])


def test_a_film_has_the_spacing_of_its_regions(tmp_path: Path) -> None:
    film = dataset(np.zeros((3, 4, 5), np.uint8), Modality="US", SequenceOfUltrasoundRegions=[region(0.05)])
    frame = read_image(write(tmp_path / "film.dcm", film)).frame
    assert frame is not None
    assert frame.spacing_mm == pytest.approx((0.5, 0.5, 1))


@pytest.mark.parametrize("kind", ["2", "7", "1.3.46.670589.1"])
def test_a_single_image_lies_where_it_says_whatever_its_class(tmp_path: Path, kind: str) -> None:
    tags = {"ImagePositionPatient": place(3, OBLIQUE), "ImageOrientationPatient": list(OBLIQUE), "SliceThickness": 4}
    frame = frame_of(tmp_path, kind, PixelSpacing=[0.5, 0.6], **tags)
    assert frame.spacing_mm == pytest.approx((0.6, 0.5, 4))
    assert frame.origin_mm == pytest.approx(place(3, OBLIQUE))
    axes = np.reshape(frame.direction, (3, 3)).T
    assert axes == pytest.approx(np.array([OBLIQUE[:3], OBLIQUE[3:], normal(OBLIQUE)]))


def test_a_mosaic_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"x\.dcm is a mosaic: the slices of a volume side by side.*dcm2niix"):
        frame_of(tmp_path, "4", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
