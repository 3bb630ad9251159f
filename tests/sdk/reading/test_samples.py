"""Every other sample file of the pydicom and nibabel wheels is read as they read it, or refused with the reason.

`dicom/test_files.py` has pydicom's `test_files`, `test_medical.py` nibabel's NIfTI files.
"""

from __future__ import annotations

import warnings
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from medsam_edge.errors import ImageError
from medsam_edge.reading.read import read_image

ROOTS = {"pydicom": Path(str(files("pydicom"))), "nibabel": Path(nibabel.__file__).parent}
NO_PIXELS, NO_IMAGE = "it has no Pixel Data", "holds none (of no class)"
PALETTE = "holds none (Color Palette Storage)"
MOSAIC = "is a mosaic"

# shape and dtype, or why it is refused
DICOM: dict[str, tuple[tuple[int, ...], str] | str] = {
    "nibabel/nicom/tests/data/0.dcm": MOSAIC,
    "nibabel/nicom/tests/data/1.dcm": MOSAIC,
    "nibabel/nicom/tests/data/csa_slice_norm.dcm": NO_PIXELS,
    "nibabel/nicom/tests/data/decimal_rescale.dcm": ((96, 128), "int16"),
    "nibabel/nicom/tests/data/slicethickness_empty_string.dcm": ((384, 384), "uint16"),
    "nibabel/tests/data/0.dcm": MOSAIC,
    "nibabel/tests/data/1.dcm": MOSAIC,
    "pydicom/data/charset_files/chrJapMulti.dcm": NO_PIXELS,
    "pydicom/data/charset_files/chrJapMultiExplicitIR6.dcm": NO_PIXELS,
    "pydicom/data/charset_files/chrKoreanMulti.dcm": NO_PIXELS,
    "pydicom/data/charset_files/chrSQEncoding.dcm": NO_IMAGE,
    "pydicom/data/charset_files/chrSQEncoding1.dcm": NO_IMAGE,
    **{f"pydicom/data/charset_files/chr{name}.dcm": ((32, 32), "uint8") for name in (
        "Arab", "Fren", "FrenMulti", "Germ", "Greek", "H31", "H32", "Hbrw", "I2", "Russ", "X1", "X2")},
    **{f"pydicom/data/palettes/{name}.dcm": PALETTE for name in (
        "fall", "hotiron", "hotmetalblue", "pet", "pet20step", "spring", "summer", "winter")},
}  # fmt: skip


def others() -> dict[str, Path]:
    """The wheels' files that are no Python and in no other table."""
    found = {}
    for wheel, root in ROOTS.items():
        for file in sorted(root.rglob("*")):
            elsewhere = root / "data/test_files" in file.parents
            elsewhere |= file.parent == root / "tests/data" and file.name.endswith((".nii", ".nii.gz", ".hdr"))
            code = file.suffix in (".py", ".pyc", ".pyi", ".typed")
            if file.is_file() and not elsewhere and not code:
                found[f"{wheel}/{file.relative_to(root).as_posix()}"] = file
    return found


OTHERS = others()


def test_the_table_is_complete() -> None:
    assert {name for name in OTHERS if name.endswith(".dcm")} == set(DICOM)


@pytest.mark.parametrize("name", OTHERS)
def test_a_sample_is_read_or_refused_with_the_reason(name: str) -> None:
    expected = DICOM.get(name, "expected one of .png")  # MINC, MGH, PAR/REC, tracts, surfaces, text and packed DICOM
    if isinstance(expected, str):
        with pytest.raises(ImageError) as caught:
            read_image(OTHERS[name])
        assert expected in str(caught.value)
        return
    read = read_image(OTHERS[name])
    assert (read.pixels.shape, read.pixels.dtype.name) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(OTHERS[name])
        theirs = pydicom.pixels.apply_rescale(data.pixel_array, data)
    np.testing.assert_array_equal(read.pixels, theirs)
