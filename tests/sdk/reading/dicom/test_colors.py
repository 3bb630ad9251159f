"""Colours of DICOM images: what the pixels are, whatever the header calls them."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from medsam_edge.errors import ImageError
from medsam_edge.reading.read import read_image
from tests.sdk.dicoms import dataset, write

FLAT = np.full((16, 24, 3), (220, 70, 50), np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def colour(pixels: npt.NDArray[Any], label: str, samples: int = 3) -> Dataset:
    data = dataset(pixels[..., 0].copy(), SecondaryCaptureImageStorage, Modality="OT")
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = samples, label, 0
    data.PixelData = pixels.tobytes()
    return data


def packed(frame: bytes, syntax: str, label: str, samples: int = 3) -> Dataset:
    data = colour(FLAT, label, samples)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([frame])
    data["PixelData"].is_undefined_length = True
    return data


def encoded(kind: str, image: npt.NDArray[Any] = FLAT, **how: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **how)
    return stream.getvalue()


def without_jfif(jpeg: bytes, instead: bytes = b"") -> bytes:
    return jpeg[:2] + instead + jpeg[4 + struct.unpack_from(">H", jpeg, 4)[0] :]


JFIF = encoded("JPEG", quality=95, subsampling=0)
ADOBE = without_jfif(JFIF, b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\x01")
RGB_JPEG = encoded("JPEG", quality=95, keep_rgb=True)
SMALL_CHROMA = without_jfif(encoded("JPEG", quality=95, subsampling=2))


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "MONOCHROME2"])
@pytest.mark.parametrize("jpeg", [JFIF, ADOBE, RGB_JPEG, SMALL_CHROMA], ids=["jfif", "adobe", "rgb", "small chroma"])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1], ids=["baseline", "called lossless"])
def test_a_jpeg_tells_its_colours(tmp_path: Path, jpeg: bytes, label: str, syntax: str) -> None:
    read = read_image(write(tmp_path / "x.dcm", packed(jpeg, syntax, label)))
    assert np.abs(read.pixels.astype(int) - FLAT).max() <= 2


@pytest.mark.parametrize("label", ["RGB", "YBR_RCT", "YBR_ICT"])
@pytest.mark.parametrize("transformed", [False, True])
@pytest.mark.parametrize("lossy", [False, True])
def test_so_does_jpeg_2000(tmp_path: Path, label: str, transformed: bool, lossy: bool) -> None:
    frame = encoded("JPEG2000", no_jp2=True, mct=int(transformed), irreversible=lossy)
    read = read_image(write(tmp_path / "x.dcm", packed(frame, JPEG2000 if lossy else JPEG2000Lossless, label)))
    assert np.abs(read.pixels.astype(int) - FLAT).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_another_number_of_values_is_refused(tmp_path: Path, kind: str) -> None:
    syntax = JPEGBaseline8Bit if kind == "JPEG" else JPEG2000Lossless
    how = {"no_jp2": True} if kind == "JPEG2000" else {}
    for image, samples, label in ((FLAT, 1, "MONOCHROME2"), (FLAT[..., 0], 3, "RGB")):
        path = write(tmp_path / "x.dcm", packed(encoded(kind, image, **how), syntax, label, samples))
        with pytest.raises(ImageError, match=f"its pixels have {4 - samples} values each, its header says {samples}"):
            read_image(path)


@pytest.mark.parametrize("planes", [0, 1])
@pytest.mark.parametrize("packing", [None, RLELossless])
@pytest.mark.parametrize("label", ["RGB", "YBR_FULL"])
def test_plain_and_run_length_encoded_colours(tmp_path: Path, label: str, packing: str | None, planes: int) -> None:
    stored = NOISE if label == "RGB" else convert_color_space(NOISE, "RGB", "YBR_FULL")
    data = colour(stored, label)
    if packing:
        data.compress(packing)
    elif planes:
        data.PixelData = np.moveaxis(stored, -1, 0).tobytes()
    data.PlanarConfiguration = planes  # that of run lengths does not matter
    read = read_image(write(tmp_path / "x.dcm", data)).pixels
    assert np.abs(read.astype(int) - NOISE).max() <= (label != "RGB")


@pytest.mark.parametrize("label", ["HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "MONOCHROME2", ""])
def test_other_colours_are_refused_by_name(tmp_path: Path, label: str) -> None:
    with pytest.raises(ImageError, match=f"its colours are {label or 'of no name'}, expected one of RGB"):
        read_image(write(tmp_path / "x.dcm", colour(NOISE, label)))


def test_one_value_is_no_colour(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"expected MONOCHROME of one value a pixel, .* has 'RGB'"):
        read_image(write(tmp_path / "x.dcm", dataset(PhotometricInterpretation="RGB")))
