from __future__ import annotations

import gzip
import os
import shutil
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.modality import Modality
from medsam_edge.reading.read import read_image
from tests.sdk.reading.crafted import GREY, META, NRRD, RGB, VOLUME, nifti, npy, npz, one_bit, picture


def dicom(path: Path, modality: str = "CT", photometric: str = "MONOCHROME2") -> Path:
    image = sitk.GetImageFromArray(GREY.astype(np.int16)[None])
    for key, value in (("0008|0060", modality), ("0028|0004", photometric), ("0028|1052", "-1024"), ("0028|1053", "2")):
        image.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)
    return path


def test_dicom_says_its_modality_and_is_rescaled(tmp_path: Path) -> None:
    loaded = read_image(dicom(tmp_path / "slice.dcm"))
    assert loaded.modality is Modality.CT
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "slice.dcm")))[0]
    assert (loaded.pixels == stored).all()


def test_dicom_without_a_suffix_is_recognised(tmp_path: Path) -> None:
    bare = tmp_path / "IM0001"
    dicom(tmp_path / "slice.dcm", "MR").rename(bare)
    assert read_image(bare).modality is Modality.MR


RARE: dict[str, tuple[bytes, npt.NDArray[Any]]] = {
    "one.png": (picture(".png", GREY[:1, :1]), GREY[:1, :1]),
    "alpha.png": (picture(".png", np.dstack([RGB[..., ::-1], np.full_like(GREY, 255)])), RGB),
    "one_bit.png": (one_bit(GREY & 1), (GREY & 1) * 255),
    "deep.png": (picture(".png", GREY.astype(np.uint16) * 257), GREY.astype(np.uint16) * 257),
    "blank_mask.png": (one_bit(np.zeros((2048, 2048), np.uint8)), np.zeros((2048, 2048))),  # 8000 pixels a byte
    "deep.tif": (picture(".tif", GREY.astype(np.uint16) * 257), GREY.astype(np.uint16) * 257),
    "float.tif": (picture(".tif", GREY.astype(np.float32) / 7), GREY.astype(np.float32) / 7),
    "a_png.jpg": (picture(".png"), RGB),
    "one_time.nii": (nifti((7, 6, 4, 1)), VOLUME),
    "big_endian.nii": (nifti(dtype=">i2"), VOLUME),
    "scaled.nii": (nifti(scl_slope=0.5, scl_inter=-3), (VOLUME * 0.5 - 3).astype(np.float32)),
    "unset_scale.nii": (nifti(scl_slope=0, scl_inter=-3), VOLUME),
    "parts.nii.gz": (gzip.compress(nifti()[:400]) + gzip.compress(nifti()[400:]) + bytes(9), VOLUME),
    "nan.nii": (nifti(dtype="<f4", data=np.full((4, 6, 7), np.nan, "<f4").tobytes()), np.full((4, 6, 7), np.nan)),
    "one_voxel.nrrd": (NRRD.replace(b"7 6 4", b"1 1 1") + b"\n\5\0", np.array([[5]])),
    "one_time.nrrd": (NRRD.replace(b"7 6 4", b"7 6 4 1").replace(b": 3", b": 4") + b"\n" + VOLUME.tobytes(), VOLUME),
    "zlib.mha": (META + b"CompressedData = True\nElementDataFile = LOCAL\n" + zlib.compress(VOLUME.tobytes()), VOLUME),
    "fortran.npz": (npz(npy((2, 3)).replace("False", "True"), bytes(range(6))), np.array([[0, 2, 4], [1, 3, 5]])),
    "bool.npz": (npz(npy((2, 3), "|b1"), bytes([1, 0] * 3)), np.array([[1, 0, 1], [0, 1, 0]])),
    "stored.npz": (npz(npy((2, 3)), bytes(range(6)), zipfile.ZIP_STORED, b"\2\0"), np.array([[0, 1, 2], [3, 4, 5]])),
}


@pytest.mark.parametrize("name", RARE)
def test_rare_variants_give_the_right_pixels(tmp_path: Path, name: str) -> None:
    content, expected = RARE[name]
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / name).pixels, expected)


def broken(tmp_path: Path, name: str) -> Path:
    """Write a file of the named kind that must be refused."""
    path = tmp_path / name
    if name == "pages.tif":
        cv2.imwritemulti(str(path), [GREY, GREY])
    elif name == "series.nii":
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.int16), isVector=False), str(path))
    elif name == "colour.nrrd":
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 4, 5, 3), np.uint8), isVector=True), str(path))
    elif name == "nothing.npz":
        np.savez(path, other=GREY)
    elif name == "pickle.npz":
        np.savez(path, imgs=np.array([{"a": 1}], dtype=object))
    elif name == "cut.png":
        path.write_bytes(cv2.imencode(".png", GREY)[1].tobytes()[:40])
    elif name in ("empty.png", "empty.nii", "empty.npz", "empty.dcm"):
        path.touch()
    else:
        path.write_bytes(b"not an image at all" * 20)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "noise.png", "noise.jpg", "noise.tif", "noise.nii", "noise.nii.gz", "noise.nrrd", "noise.mha", "noise.dcm",
        "noise.npz", "noise.txt", "noise", "cut.png", "empty.png", "empty.nii", "empty.npz", "empty.dcm", "pages.tif",
        "series.nii", "colour.nrrd", "nothing.npz", "pickle.npz",
    ],
)  # fmt: skip
def test_unusable_files_are_refused(tmp_path: Path, name: str) -> None:
    path = broken(tmp_path, name)
    with pytest.raises(ImageError, match="image:"):
        read_image(path)


def test_missing_files_empty_folders_and_overlong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"none\.png"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match=r"image: cannot read .*too long"):
        read_image(tmp_path / ("x" * 300 + ".png"))


def test_a_folder_without_permission_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's answer is simulated, because tests may run as a user without restrictions."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ImageError, match=r"image: cannot read shut/x\.png: .*Permission denied"):
        read_image("shut/x.png")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no file has such a name")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".dcm"])
def test_paths_that_are_not_utf8_are_refused_where_itk_opens_them(tmp_path: Path, suffix: str) -> None:
    """ITK ends the process at such a path."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))
    folder.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(GREY), str(tmp_path / f"x{suffix}"))
    shutil.copy(tmp_path / f"x{suffix}", folder)
    if suffix != ".nii.gz":  # read here and by pydicom
        np.testing.assert_array_equal(read_image(folder / f"x{suffix}").pixels, GREY)
    else:
        with pytest.raises(ImageError, match=r"path: expected UTF-8, which is all that ITK opens, got '.*udce9"):
            read_image(folder / f"x{suffix}")
