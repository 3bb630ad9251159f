"""Values of single files, each worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from medsam_edge.errors import ImageError
from medsam_edge.reading.read import read_image
from tests.sdk.dicoms import PIXELS, dataset, write

NUMBERS = "RescaleSlope", "RescaleIntercept", "PixelSpacing"


def test_values_beyond_the_stored_type(tmp_path: Path) -> None:
    """GDCM reads no signed values that the rescale makes unsigned."""
    for stored, slope, intercept in (
        (np.array([[-20000, 10000]], np.int16), 1, 32768),
        (np.array([[0, 65535]], np.uint16), 1, -40000),
        (np.array([[0, 255]], np.uint8), 1, -128),
        (np.array([[-32768, 32767]], np.int16), -1, 0),
        (np.array([[0, 65535]], np.uint16), 3, 1),
    ):
        data = dataset(stored, Modality="DX", RescaleSlope=slope, RescaleIntercept=intercept)
        pixels = read_image(write(tmp_path / "x.dcm", data)).pixels
        assert pixels.dtype.kind in "ui"
        assert (pixels == stored.astype(np.int64) * slope + intercept).all()


@pytest.mark.parametrize("name", NUMBERS)
def test_a_decimal_comma_is_refused(tmp_path: Path, name: str) -> None:
    text = "0.5\\0.5" if name == "PixelSpacing" else "0.5"
    path = write(tmp_path / "x.dcm", dataset(**{name: text}))
    path.write_bytes(path.read_bytes().replace(text.encode(), text.replace(".", ",").encode()))
    with pytest.raises(ImageError, match=f"numbers in {name}, .*x.dcm has"):
        read_image(path)


def lookup(first: int, values: list[int], bits: int = 16, raw: bool = False) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first & 0xFFFF, bits])
    item.ModalityLUTType = "HU"
    item.add_new("LUTData", "OW" if raw else "US", np.array(values, "<u2").tobytes() if raw else values)
    return [item]


@pytest.mark.parametrize("raw", [False, True])
def test_the_modality_lut_is_applied(tmp_path: Path, raw: bool) -> None:
    """Values below its first entry have the first, those above its last the last."""
    stored = np.array([[-3, -2, -1], [0, 1, 99]], np.int16)
    data = dataset(stored, ModalityLUTSequence=lookup(-2, [500, 40, 3000, 7], 12, raw))
    path = write(tmp_path / "x.dcm", data)
    assert read_image(path).pixels.tolist() == [[500, 500, 40], [3000, 7, 7]]
    data.Modality, data.PhotometricInterpretation = "DX", "MONOCHROME1"
    assert read_image(write(path, data)).pixels.tolist() == [[3595, 3595, 4055], [1095, 4088, 4088]]
    data.ModalityLUTSequence[0].LUTDescriptor = [9, 0, 16]
    with pytest.raises(ImageError, match="its Modality LUT has 4 entries, expected 9"):
        read_image(write(path, data))


def test_bits_beside_those_stored_are_no_part_of_a_value(tmp_path: Path) -> None:
    tags: dict[str, Any] = {"BitsStored": 12, "HighBit": 11}
    values = np.array([[0, 5, 4095]], np.uint16)
    assert (read_image(write(tmp_path / "x.dcm", dataset(values | 0xA000, **tags))).pixels == values).all()
    signed = np.array([[-2048, -1, 2047]], np.int16)
    assert (read_image(write(tmp_path / "x.dcm", dataset(signed & 0xFFF, **tags))).pixels == signed).all()
    shifted = dataset(values << 4 | 9, BitsStored=12, HighBit=15)
    assert (read_image(write(tmp_path / "x.dcm", shifted)).pixels == values).all()
    with pytest.raises(ImageError, match="those stored within those allocated"):
        read_image(write(tmp_path / "x.dcm", dataset(BitsStored=17)))


def test_run_lengths_are_decoded(tmp_path: Path) -> None:
    data = dataset(PIXELS * 300, RescaleIntercept=-5)
    data.compress(RLELossless)
    assert (read_image(write(tmp_path / "x.dcm", data)).pixels == PIXELS * 300 - 5).all()


def test_colour_of_16_bits_and_in_big_endian(tmp_path: Path) -> None:
    rgb = np.arange(60, dtype=np.uint16).reshape(4, 5, 3) * 1000
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    data = dataset(rgb[..., 0], PixelData=rgb.astype(">u2").tobytes(), **tags)
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert (read_image(write(tmp_path / "x.dcm", data)).pixels == rgb).all()


def test_the_reason_of_a_decoder_is_passed_on(tmp_path: Path) -> None:
    data = dataset(PIXELS.astype(np.uint8), PixelData=encapsulate([b"no JPEG-LS"]))
    data.file_meta.TransferSyntaxUID, data["PixelData"].VR = JPEGLSLossless, "OB"
    with pytest.raises(ImageError, match=r"x\.dcm: GDCM does not decode its JPEG-LS Lossless Image Compression: "):
        read_image(write(tmp_path / "x.dcm", data))
    with pytest.raises(ImageError, match=r"x\.dcm: .*bytes"):
        read_image(write(tmp_path / "x.dcm", dataset(PixelData=bytes(20))))


def disc() -> npt.NDArray[np.uint8]:
    """Red on dark."""
    inside = np.hypot(*(np.indices((48, 64)) - np.array([24, 32])[:, None, None]))[..., None] < 15
    return np.where(inside, np.array([220, 70, 50]), np.array([30, 30, 40])).astype(np.uint8)


def jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    """With JFIF's marker, in YCbCr of full size."""
    how = [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), how)[1].tobytes()


def unmarked(data: bytes, names: bytes, adobe: bytes = b"") -> bytes:
    """Without JFIF's marker, its components renamed in frame and scan, with the marker of Adobe instead."""
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    changed = bytearray(data)
    for index, name in enumerate(names):
        changed[frame + 10 + 3 * index] = changed[scan + 5 + 2 * index] = name
    return bytes(changed[:2]) + adobe + bytes(changed[20:])


def ultrasound(data: bytes, label: str) -> Dataset:
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": label, "PlanarConfiguration": 0, "Modality": "US"}
    made = dataset(disc()[..., 0], PixelData=encapsulate([data]), **tags)
    made.file_meta.TransferSyntaxUID, made["PixelData"].VR = JPEGBaseline8Bit, "OB"
    return made


ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("names", [b"RGB", b"\x01\x02\x03"])
def test_the_colours_are_those_that_the_jpeg_names(tmp_path: Path, label: str, names: bytes) -> None:
    rgb = disc()
    y_cr_cb = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)
    straight = cv2.cvtColor(y_cr_cb, cv2.COLOR_YCrCb2RGB)  # what a reader makes of components that are RGB already
    named = names == b"RGB"
    files = {
        "jfif": (jpeg(rgb), rgb),
        "adobe_ycc": (unmarked(jpeg(rgb), names, ADOBE + b"\x01"), rgb),
        "adobe_rgb": (unmarked(jpeg(rgb), names, ADOBE + b"\x00"), y_cr_cb[..., [0, 2, 1]]),
        "bare": (unmarked(jpeg(rgb), names), y_cr_cb[..., [0, 2, 1]] if named or label == "RGB" else straight),
    }
    for name, (data, expected) in files.items():
        pixels = read_image(write(tmp_path / f"{name}.dcm", ultrasound(data, label))).pixels.astype(int)
        inner = np.s_[[24, 24, 3], [32, 28, 3]]  # away from the edge of the disc
        assert np.abs(pixels[inner] - expected[inner].astype(int)).max() <= 4, name
