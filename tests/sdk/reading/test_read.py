from __future__ import annotations

import os
import shutil
import struct
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from medsam_edge.boxes import check_boxes
from medsam_edge.errors import BoxError, FileMissingError, ImageError
from medsam_edge.modality import Modality
from medsam_edge.reading.read import read_image
from medsam_edge.writing.labels import write_labels
from medsam_edge.writing.picture import write_picture
from medsam_edge.writing.whole import replacing

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
RGB = np.stack([GREY, GREY + 50, GREY + 100], axis=-1)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_pictures(tmp_path: Path, suffix: str) -> None:
    for name, image in (("grey", GREY), ("rgb", RGB)):
        write_picture(tmp_path / (name + suffix), image)
        assert (read_image(tmp_path / (name + suffix)).pixels == image).all()


def test_sixteen_bits_and_alpha(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), GREY.astype(np.uint16) * 1000)
    assert (read_image(tmp_path / "deep.png").pixels == GREY.astype(np.uint16) * 1000).all()
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([RGB[..., ::-1], GREY]))
    assert (read_image(tmp_path / "alpha.png").pixels == RGB).all()


@pytest.mark.parametrize("dtype", ["uint8", ">u2"])
def test_grey_with_alpha_is_grey(tmp_path: Path, dtype: str) -> None:
    rows = np.dstack([GREY, 255 - GREY]).astype(dtype)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # 0: not filtered
    header = struct.pack(">IIBBBBB", 8, 6, 8 * rows.itemsize, 4, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    (tmp_path / "la.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    read = read_image(tmp_path / "la.png")
    assert not read.color
    np.testing.assert_array_equal(read.pixels, GREY)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no file has such a name")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".dcm"])
def test_paths_that_are_not_utf8(tmp_path: Path, suffix: str) -> None:
    """ITK ends the process at one."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))
    folder.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(GREY), str(tmp_path / f"x{suffix}"))
    shutil.copy(tmp_path / f"x{suffix}", folder)
    if suffix == ".nrrd":  # read here, not by ITK
        np.testing.assert_array_equal(read_image(folder / "x.nrrd").pixels, GREY)
        with pytest.raises(
            ImageError, match=r"path: expected UTF-8, which is all that ITK opens, got '.*udce9/y.nrrd'"
        ):
            write_labels(folder / "y.nrrd", GREY.astype(np.uint16), None)
        assert [file.name for file in folder.iterdir()] == ["x.nrrd"]
    else:
        with pytest.raises(ImageError, match=r"path: expected UTF-8, which is all that ITK opens, got '.*udce9"):
            read_image(folder / f"x{suffix}")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_colour_tif_of_any_type(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    image = RGB.astype(dtype)
    cv2.imwrite(str(tmp_path / "x.tif"), np.ascontiguousarray(image[:, :, ::-1]))
    read = read_image(tmp_path / "x.tif").pixels
    assert read.dtype == dtype
    assert (read == image).all()


def test_jpg_and_a_name_in_another_script(tmp_path: Path) -> None:
    path = tmp_path / "снимок.jpg"
    path.write_bytes(cv2.imencode(".jpg", np.full((5, 7), 90, np.uint8))[1].tobytes())
    assert abs(read_image(path).pixels.astype(int) - 90).max() <= 1


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_medical_slice_keeps_values_and_frame(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray((GREY.astype(np.int16) - 1000)[None])
    image.SetSpacing((0.5, 0.6, 5.0))
    image.SetOrigin((10.0, 20.0, -30.0))
    sitk.WriteImage(image, str(tmp_path / f"slice{suffix}"))
    loaded = read_image(tmp_path / f"slice{suffix}")
    assert loaded.frame is not None
    assert (loaded.pixels == GREY.astype(np.int16) - 1000).all()
    assert loaded.frame.spacing_mm == pytest.approx((0.5, 0.6, 5.0))
    assert loaded.frame.origin_mm == pytest.approx((10.0, 20.0, -30.0))


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


def test_challenge_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", imgs=RGB, boxes=np.array([[1, 2, 3, 4]]), spacing=np.ones(3))
    loaded = read_image(tmp_path / "case.npz")
    assert (loaded.pixels == RGB).all()
    assert loaded.boxes is not None
    assert loaded.boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64, np.float32])
def test_challenge_boxes_of_volumes_end_after_their_last_slice(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    boxes = np.array([[1, 2, 0, 3, 4, 2], [1, 2, 1, 3, 4, 255]], dtype)  # 255 + 1 is none of 8 bits
    np.savez(tmp_path / "case.npz", imgs=np.zeros((256, 4, 5), np.uint8), boxes=boxes)
    loaded = read_image(tmp_path / "case.npz")
    assert loaded.boxes is not None
    assert loaded.boxes.tolist() == [[1, 2, 0, 3, 4, 3], [1, 2, 1, 3, 4, 256]]


def test_challenge_boxes_that_are_no_numbers_do_not_spoil_the_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", imgs=np.zeros((3, 4, 5), np.uint8), boxes=np.full((1, 6), "a"))
    loaded = read_image(tmp_path / "case.npz")
    assert loaded.pixels.shape == (3, 4, 5)
    with pytest.raises(BoxError, match="expected numbers"):
        check_boxes(loaded.boxes, 4, 5, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_medical_volume_keeps_values_and_frame(tmp_path: Path, suffix: str) -> None:
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5) - 1000
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.5, 0.6, 5.0))
    sitk.WriteImage(image, str(tmp_path / f"volume{suffix}"))
    loaded = read_image(tmp_path / f"volume{suffix}")
    assert (loaded.pixels == volume).all()
    assert loaded.frame is not None
    assert loaded.frame.spacing_mm == pytest.approx((0.5, 0.6, 5.0))


def test_challenge_volume_has_its_spacing_in_the_order_x_y_z(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", imgs=np.zeros((3, 4, 5), np.uint8), spacing=np.array([0.5, 0.6, 5.0]))
    frame = read_image(tmp_path / "case.npz").frame
    assert frame is not None
    assert frame.spacing_mm == (0.5, 0.6, 5.0)
    np.savez(tmp_path / "bad.npz", imgs=np.zeros((3, 4, 5), np.uint8), spacing=np.array([0.5, 0, 5.0]))
    with pytest.raises(ImageError, match="spacing: expected three positive numbers"):
        read_image(tmp_path / "bad.npz")


def test_too_large_a_volume_is_refused_by_its_header(tmp_path: Path) -> None:
    """A header alone: nothing behind it could be read."""
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 2048 2048 2048\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "huge.mha").write_text(header)
    with pytest.raises(ImageError, match=r"size \(2048, 2048, 2048\), more than 268435456 pixels or voxels"):
        read_image(tmp_path / "huge.mha")


def broken(tmp_path: Path, name: str) -> Path:
    """A file of the named kind that must be refused."""
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
def test_what_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    path = broken(tmp_path, name)
    with pytest.raises(ImageError, match="image:"):
        read_image(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"none\.png"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match=r"image: cannot read .*too long"):
        read_image(tmp_path / ("x" * 300 + ".png"))


def test_a_folder_that_may_not_be_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights mean nothing to the user that tests may run as, so that the system's answer is made up."""

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ImageError, match=r"image: cannot read shut/x\.png: .*Permission denied"):
        read_image("shut/x.png")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 70000, 3), np.uint8), r"no \.jpg of shape \(2, 70000, 3\)"),
        (np.full((4, 5), 300, np.uint16), "expected png or tif for 16 bits"),
    ],
)
def test_what_no_jpg_holds(tmp_path: Path, image: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(ImageError, match=f"^output: .*{message}"):
        write_picture(tmp_path / "x.jpg", image)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_threads_may_save_to_one_path(tmp_path: Path) -> None:
    """Each writes half, waits for the other, and writes the rest: what is there in the end is of one of them."""
    path, both = tmp_path / "x.txt", threading.Barrier(2)

    def save(letter: str) -> None:
        with replacing(path) as partial, partial.open("w") as file:
            file.write(letter)
            file.flush()
            both.wait(10)
            file.write(letter)
            file.flush()
            both.wait(10)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, "ab"))
    assert path.read_text(encoding="utf-8") in ("aa", "bb")
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("name", ["x" * 243 + ".nii.gz", "X" * 240 + ".Nii.Gz", "ж" * 120 + ".png"])
def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path, name: str) -> None:
    write_labels(tmp_path / name, np.ones((4, 5), np.uint16), None)
    assert [file.name for file in tmp_path.iterdir()] == [name]
