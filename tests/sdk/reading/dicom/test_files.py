"""The files of the pydicom wheel: each is read, with the values that pydicom decodes, or refused with the reason."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.pixels import apply_color_lut, apply_rescale

from medsam_edge.errors import ImageError
from medsam_edge.reading.read import read_image
from medsam_edge.segmenter import Segmenter
from tests.sdk.fake import fake_model

FOLDER = Path(str(files("pydicom"))) / "data" / "test_files"
LOSSY_TOLERANCE = 2  # of 255: decoders of JPEG round differently

# shape, dtype and the value at a third of the height and of the width; or why it is refused
EXPECTED: dict[str, tuple[tuple[int, ...], str, int | Sequence[int]] | str] = {
    "693_J2KI.dcm": ((512, 512), "int16", 487),
    "CT_small.dcm": ((128, 128), "int32", 411),
    "ExplVR_BigEnd.dcm": ((60, 80, 3), "uint8", [255, 255, 0]),
    "ExplVR_BigEndNoMeta.dcm": "is a radiotherapy plan",
    "ExplVR_LitEndNoMeta.dcm": "is a radiotherapy plan",
    "GDCMJ2K_TextGBR.dcm": ((400, 400, 3), "uint8", [128, 128, 128]),
    "J2K_pixelrep_mismatch.dcm": ((512, 512), "int16", 18),
    "JPEG-lossy.dcm": ((1024, 256), "uint16", 21),
    "JPEG2000-embedded-sequence-delimiter.dcm": "cannot read",
    "JPEG2000.dcm": ((1024, 256), "int16", 21),
    "JPEGLSNearLossless_08.dcm": ((45, 10), "uint8", 30),
    "JPEGLSNearLossless_16.dcm": ((50, 10), "uint16", 4095),
    "JPGExtended.dcm": ((1024, 256), "uint16", 21),
    "MR_small.dcm": ((64, 64), "int16", 446),
    "MR_small_RLE.dcm": ((64, 64), "int16", 446),
    "MR_small_bigendian.dcm": ((64, 64), "int16", 446),
    "MR_small_expb.dcm": ((64, 64), "int16", 446),
    "MR_small_implicit.dcm": ((64, 64), "int16", 446),
    "MR_small_jp2klossless.dcm": ((64, 64), "int16", 446),
    "MR_small_jpeg_ls_lossless.dcm": ((64, 64), "int16", 446),
    "MR_small_padded.dcm": ((64, 64), "int16", 446),
    "MR_truncated.dcm": "cannot read",
    "README.txt": "expected one of",
    "SC_jpeg_no_color_transform.dcm": ((256, 256, 3), "uint8", [244, 244, 244]),
    "SC_jpeg_no_color_transform_2.dcm": ((256, 256, 3), "uint8", [246, 246, 246]),
    "SC_rgb_dcmtk_+eb+cr.dcm": ((100, 100, 3), "uint8", [128, 255, 128]),
    "SC_rgb_dcmtk_+eb+cy+n1.dcm": ((100, 100, 3), "uint8", [129, 255, 129]),
    "SC_rgb_dcmtk_+eb+cy+n2.dcm": ((100, 100, 3), "uint8", [129, 255, 129]),
    "SC_rgb_dcmtk_+eb+cy+np.dcm": ((100, 100, 3), "uint8", [129, 255, 129]),
    "SC_rgb_dcmtk_+eb+cy+s2.dcm": ((100, 100, 3), "uint8", [129, 255, 129]),
    "SC_rgb_dcmtk_+eb+cy+s4.dcm": ((100, 100, 3), "uint8", [129, 255, 129]),
    "SC_rgb_gdcm_KY.dcm": ((100, 100, 3), "uint8", [128, 255, 128]),
    "SC_rgb_jls_lossy_line.dcm": ((100, 100, 3), "uint8", [130, 255, 130]),
    "SC_rgb_jls_lossy_sample.dcm": ((100, 100, 3), "uint8", [130, 255, 130]),
    "SC_rgb_jpeg.dcm": ((256, 256, 3), "uint8", [244, 244, 244]),
    "SC_rgb_jpeg_app14_dcmd.dcm": ((256, 256, 3), "uint8", [246, 246, 246]),
    "SC_rgb_jpeg_dcmd.dcm": ((256, 256, 3), "uint8", [244, 244, 244]),
    "SC_rgb_jpeg_dcmtk.dcm": ((100, 100, 3), "uint8", [129, 255, 129]),
    "SC_rgb_jpeg_gdcm.dcm": ((100, 100, 3), "uint8", [128, 255, 128]),
    "SC_rgb_jpeg_lossy_gdcm.dcm": ((100, 100, 3), "uint8", [129, 255, 129]),
    "SC_rgb_rle.dcm": ((100, 100, 3), "uint8", [128, 255, 128]),
    "SC_rgb_rle_16bit.dcm": ((100, 100, 3), "uint16", [32896, 65535, 32896]),
    "SC_rgb_rle_16bit_2frame.dcm": "frames in colour",
    "SC_rgb_rle_2frame.dcm": "frames in colour",
    "SC_rgb_rle_32bit.dcm": ((100, 100, 3), "uint32", [2155905152, 4294967295, 2155905152]),
    "SC_rgb_rle_32bit_2frame.dcm": "frames in colour",
    "SC_rgb_small_odd.dcm": ((3, 3, 3), "uint8", [63, 87, 176]),
    "SC_rgb_small_odd_big_endian.dcm": ((3, 3, 3), "uint8", [63, 87, 176]),
    "SC_rgb_small_odd_jpeg.dcm": ((3, 3, 3), "uint8", [62, 87, 179]),
    "SC_ybr_full_422_uncompressed.dcm": ((100, 100, 3), "uint8", [129, 255, 129]),
    "UN_sequence.dcm": "holds none (of no class)",
    "badVR.dcm": "is a radiotherapy dose",
    "crayons.icc": "expected one of",
    "empty_charset_LEI.dcm": "holds none (of no class)",
    "examples_jpeg2k.dcm": ((480, 640, 3), "uint8", [61, 61, 61]),
    "examples_overlay.dcm": ((300, 484), "uint16", 293),
    "examples_palette.dcm": ((350, 800, 3), "uint8", [0, 0, 0]),
    "examples_rgb_color.dcm": ((240, 320, 3), "uint8", [71, 71, 71]),
    "examples_ybr_color.dcm": "frames in colour",
    "image_dfl.dcm": ((512, 512), "uint8", 41),
    "liver_1frame.dcm": "is a segmentation",
    "liver_expb_1frame.dcm": "is a segmentation",
    "meta_missing_tsyntax.dcm": "a whole number in Columns",
    "nested_priv_SQ.dcm": "a whole number in Columns",
    "no_meta.dcm": "cannot read",
    "no_meta_group_length.dcm": "holds none (of no class)",
    "priv_SQ.dcm": "holds none (of no class)",
    "reportsi.dcm": "is a structured report",
    "reportsi_with_empty_number_tags.dcm": "is a structured report",
    "rtdose.dcm": "is a radiotherapy dose",
    "rtdose_1frame.dcm": "is a radiotherapy dose",
    "rtdose_expb.dcm": "is a radiotherapy dose",
    "rtdose_expb_1frame.dcm": "is a radiotherapy dose",
    "rtdose_rle.dcm": "is a radiotherapy dose",
    "rtdose_rle_1frame.dcm": "is a radiotherapy dose",
    "rtplan.dcm": "is a radiotherapy plan",
    "rtplan.dump": "expected one of",
    "rtplan_truncated.dcm": "is a radiotherapy plan",
    "rtstruct.dcm": "is a radiotherapy structure set",
    "rtstruct.dump": "expected one of",
    "test-SR.dcm": "is a structured report",
    "test1.json": "expected one of",
    "test_PN.json": "expected one of",
    "waveform_ecg.dcm": "is a waveform",
    "zipMR.gz": "expected one of",
}
# not decoded by pydicom without plugins
ONLY_GDCM = {"GDCMJ2K_TextGBR.dcm", "JPEG-lossy.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm"}

SERIES: dict[str, tuple[tuple[int, ...], str] | str] = {
    ".": "it has no Pixel Data",
    "77654033/CR1": ((16, 16), "float32"),
    "77654033/CR2": ((16, 16), "float32"),
    "77654033/CR3": ((16, 16), "float32"),
    "77654033/CT2": "1.25 mm apart but 202.5 mm between 17106 and 17136",
    "98892001/CT2N": "slices of one orientation",
    "98892001/CT5N": ((5, 16, 16), "int32"),
    "98892003/MR1": "has 3: 'FAST LOCALIZER' (1 slices, UID 1.3.6.1.4.1.5962.1.1.0.0.0.1196533885.18148.0.475)",
    "98892003/MR2": "'T/S/C RF FAST PILOT' (3 slices, UID",
    "98892003/MR700": "slices of one orientation",
    "TINY_ALPHA": "it has no Pixel Data",
    "TINY_ALPHA/PT000000/ST000000/SE000000": "it has no Pixel Data",
}


def test_the_tables_are_complete() -> None:
    assert {file.name for file in FOLDER.iterdir() if file.is_file()} == set(EXPECTED)
    root = FOLDER / "dicomdirtests"
    folders = {str(file.parent.relative_to(root)) for file in root.rglob("*") if file.is_file()}
    assert folders == set(SERIES)


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if isinstance(expected, str)])
def test_refused(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(FOLDER / name)
    assert str(EXPECTED[name]) in str(caught.value)


def test_read_and_segmented() -> None:
    segmenter, known = Segmenter(fake_model()), {n: e for n, e in EXPECTED.items() if not isinstance(e, str)}
    for name, (shape, dtype, value) in known.items():
        loaded = read_image(FOLDER / name)
        height, width = shape[:2]
        assert (loaded.pixels.shape, loaded.pixels.dtype.name) == (shape, dtype), name
        spot = loaded.pixels[height // 3, width // 3].astype(int)
        assert np.abs(spot - value).max() <= LOSSY_TOLERANCE * (len(shape) == 3), name
        if name not in ONLY_GDCM:
            difference = np.abs(loaded.pixels.astype(float) - decoded(name))
            assert difference.max() <= LOSSY_TOLERANCE * (len(shape) == 3), name
        mask = segmenter.segment(loaded.pixels, [[0, 0, width, height]], loaded.modality).mask(0)
        assert mask.shape == shape[:2], name
        assert mask.all(), name


def decoded(name: str) -> npt.NDArray[Any]:
    """What pydicom makes of a file, rescaled or as RGB of 8 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several files are wrong on purpose
        data = pydicom.dcmread(FOLDER / name)
        pixels = data.pixel_array
        if data.PhotometricInterpretation == "PALETTE COLOR":
            colour: npt.NDArray[Any] = apply_color_lut(pixels, data) >> 8
            return colour
        rescaled: npt.NDArray[Any] = apply_rescale(pixels, data)
        return rescaled


@pytest.mark.parametrize("name", SERIES)
def test_folders(name: str) -> None:
    expected, folder = SERIES[name], FOLDER / "dicomdirtests" / name
    if isinstance(expected, str):
        with pytest.raises(ImageError) as caught:
            read_image(folder)
        assert expected in str(caught.value)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*on the detector only")
        loaded = read_image(folder)
    assert (loaded.pixels.shape, loaded.pixels.dtype.name) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [pydicom.dcmread(file) for file in folder.iterdir()]
        made.sort(key=lambda data: float(data.get("ImagePositionPatient", [0, 0, 0])[2]))
        planes = np.stack([apply_rescale(data.pixel_array, data) for data in made])
    if made[0].PhotometricInterpretation == "MONOCHROME1":
        low, high = (apply_rescale(np.array(v), made[0]) for v in (0, 2 ** made[0].BitsStored - 1))
        planes = low + high - planes
    assert loaded.pixels.reshape(planes.shape) == pytest.approx(planes, rel=1e-6)
