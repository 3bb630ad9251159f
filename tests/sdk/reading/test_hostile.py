"""Files that lie: each is read right, or refused for a documented reason before it costs anything."""

from __future__ import annotations

import gzip
import io
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.reading.limits import MAXIMUM_PIXELS
from medsam_edge.reading.read import read_image
from medsam_edge.writing.labels import write_labels
from medsam_edge.writing.picture import write_picture
from tests.sdk import fuzz as fuzzer
from tests.sdk.fuzz import with_checksums

GREY = np.random.default_rng(0).integers(0, 255, (24, 20), np.uint8)
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
VOLUME = np.random.default_rng(1).integers(-1000, 1000, (4, 6, 7), np.int16)

NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 4\nendian: little\nencoding: raw\n"
META = b"ObjectType = Image\nNDims = 3\nDimSize = 7 6 4\nElementType = MET_SHORT\n"


def test_hundreds_of_mutated_files_are_read_or_refused() -> None:
    report = fuzzer.fuzz(range(690), seed=20261122)  # 30 of each kind
    assert report.failures == {}
    assert sum(report.counts.values()) == 690
    assert {kind for _, kind in report.counts} == {"read", "refused"}


def test_the_fuzzer_sees_a_crash_and_a_hang_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    script = """import os, sys, time
for line in sys.stdin:
    os.abort() if line == "2\\n" else time.sleep(99) if line == "4\\n" else print('["x", "read"]', flush=True)"""

    def start(_: int) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True)

    monkeypatch.setattr(fuzzer, "_start", start)
    monkeypatch.setattr(fuzzer, "WALL_SECONDS", 0.5)
    report = fuzzer.fuzz(range(1, 6), seed=0)
    assert report.counts["x", "read"] == 3
    assert report.failures == {2: "?: BAD: crashes (-6)", 4: "?: BAD: hangs"}


@contextmanager
def peak_bytes() -> Iterator[Callable[[], int]]:
    """Of what Python and numpy allocate in the block."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield lambda: found[0]
    finally:
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def picture(suffix: str, image: npt.NDArray[Any] = RGB) -> bytes:
    return cv2.imencode(suffix, image[..., ::-1] if image.shape[2:] == (3,) else image)[1].tobytes()


def one_bit(image: npt.NDArray[np.uint8]) -> bytes:
    how = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9]
    return cv2.imencode(".png", image, how)[1].tobytes()


def png(width: int, height: int, depth: int = 8, color: int = 0) -> bytes:
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0), b"IDAT": bytes(9), b"IEND": b""}
    parts = (struct.pack(">I", len(data)) + kind + data + bytes(4) for kind, data in chunks.items())
    return with_checksums(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def tiff(tags: dict[int, int], order: str = "<", more: Iterable[tuple[int, int]] = ()) -> bytes:
    pairs = [*more, *sorted(tags.items())]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in pairs)
    magic = b"II" if order == "<" else b"MM"
    return magic + struct.pack(order + "HIH", 42, 8, len(pairs)) + entries + bytes(4)


def nifti(shape: tuple[int, ...] = (7, 6, 4), dtype: str = "<i2", data: bytes | None = None, **fields: Any) -> bytes:
    header = nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(np.dtype(dtype))
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    for name, value in {"magic": b"n+1", "vox_offset": 352, **fields}.items():
        header[name] = value
    return header.binaryblock + bytes(4) + (VOLUME.astype(dtype).tobytes() if data is None else data)


def npz(header: str, data: bytes = b"", method: int = zipfile.ZIP_DEFLATED, version: bytes = b"\1\0") -> bytes:
    buffer = io.BytesIO()
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(text))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("imgs.npy", b"\x93NUMPY" + version + length + text + data)
    return buffer.getvalue()


def npy(shape: object, dtype: object = "|u1") -> str:
    return f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"


def lying_zip(content: bytes, size: int) -> bytes:
    """The first member's unpacked size, in its central directory."""
    at = content.index(b"PK\1\2")
    return content[: at + 24] + struct.pack("<I", size) + content[at + 28 :]


HUGE = f"more than {MAXIMUM_PIXELS} pixels"
REFUSED: dict[str, tuple[bytes, str]] = {
    # sizes
    "wide.png": (png(65536, 65536), HUGE),
    "deep.png": (png(16384, 16384, 16, 2), "bytes of values, more than"),
    "empty_side.png": (png(0, 5), "no pixels"),
    "small_file.png": (png(8000, 8000), "bytes cannot come out of its"),
    "wide.jpg": (b"\xff\xd8\xff\xc0\0\x08\x08" + struct.pack(">HHB", 65500, 65500, 3) + b"\xff\xda\xff\xd9", HUGE),
    "wide.bmp": (b"BM" + bytes(12) + struct.pack("<IiiHH", 40, 1 << 20, -(1 << 20), 1, 24) + bytes(24), HUGE),
    "wide.tif": (tiff({256: 1 << 16, 257: 1 << 16, 258: 8}), HUGE),
    "wide_mm.tif": (tiff({256: 1 << 16, 257: 1 << 16, 258: 8}, ">"), HUGE),
    "tile.tif": (tiff({256: 8, 257: 8, 258: 8, 322: 1 << 15, 323: 1 << 15}), HUGE),
    "twice.tif": (tiff({257: 8}, more=[(256, 1 << 20), (256, 8)]), "tag 256 twice"),
    "channels.tif": (tiff({256: 1000, 257: 1000, 258: 64, 277: 60000}), "bytes of values, more than"),
    "wide.nii": (nifti((32767, 32767, 32767)), HUGE),
    "small_file.nii.gz": (gzip.compress(nifti((512, 512, 512), data=b"")), "bytes cannot come out of its"),
    "doubles.nii": (nifti((1024, 1024, 200), "<f8", data=b""), "bytes of values, more than"),
    "negative.nii": (nifti((7, -6, 4)), "no pixels"),
    "wide.nrrd": (NRRD.replace(b"7 6 4", b"4096 4096 4096") + b"\n", HUGE),
    "small_file.nrrd": (NRRD.replace(b"7 6 4", b"512 512 512").replace(b"raw", b"gzip") + b"\n", "cannot come out"),
    "wide.mha": (META.replace(b"7 6 4", b"4096 4096 4096") + b"ElementDataFile = LOCAL\n", HUGE),
    "huge_shape.npz": (npz(npy((1 << 40, 1 << 40))), HUGE),
    "small_file.npz": (npz(npy((8000, 8000))), "cannot come out"),
    "negative.npz": (npz(npy((-4, -4)), bytes(16)), "no pixels"),
    "no_pixels.npz": (npz(npy((0, 5))), r"numbers, two or three dimensions.*shape \(0, 5\)"),
    # cut and damaged
    "cut.png": (picture(".png")[:-1], "cut"),
    "cut.jpg": (picture(".jpg")[:-40], "cut"),
    "cut.bmp": (picture(".bmp")[:-40], "damaged"),
    "cut.tif": (picture(".tif")[:-200], "cut or damaged"),
    "cut.nii": (nifti()[:-1], "expected 688 bytes, found 687"),
    "cut.nii.gz": (gzip.compress(nifti())[:-1], "is cut"),
    "short.nii.gz": (gzip.compress(nifti()[:-1]), "expected 336 bytes of values, found 335"),
    "cut.nrrd": (NRRD + b"\n" + VOLUME.tobytes()[:-1], "is cut"),
    "cut.mha": (META + b"ElementDataFile = LOCAL\n" + VOLUME.tobytes()[:-1], "is cut"),
    "short.npz": (npz(npy((4, 4)), bytes(15)), r"'imgs' in .*: expected \d+ bytes, got \d+"),
    "lying_more.npz": (lying_zip(npz(npy((4, 4)), bytes(16)), 1 << 30), "expected"),
    "lying_less.npz": (lying_zip(npz(npy((4, 4)), bytes(16)), 80), "CRC-32"),
    "checksum.nii.gz": (gzip.compress(nifti())[:-8] + bytes(8), "cannot read"),
    # what is not read
    "animated.png": (png(4, 4).replace(b"IDAT", b"acTL"), "animated"),
    "scans.jpg": (picture(".jpg")[:-2] + b"\xff\xda" * 200 + b"\xff\xd9", "scans"),
    "webp.png": (cv2.imencode(".webp", RGB)[1].tobytes(), "not a png, jpg, bmp or tif"),
    "gz.nii": (gzip.compress(nifti()), "packed by gzip, unlike its name"),
    "plain.nii.gz": (nifti(), "not packed by gzip, unlike its name"),
    "pair.nii": (nifti(magic=b"ni1"), "in the same file"),
    "offset.nii": (nifti(vox_offset=1e9), "start at byte"),
    "nan_offset.nii": (nifti(vox_offset=np.nan), "start at byte"),
    "complex.nii": (nifti(dtype="<c8"), "type 32, which is not read"),
    "series.nii": (nifti((7, 6, 2, 2)), "two or three dimensions"),
    "complex.npz": (npz(npy((4, 4), "<c8"), bytes(128)), "expected numbers"),
    "text.npz": (npz(npy((4, 4), "<U1"), bytes(64)), "expected numbers"),
    "objects.npz": (npz(npy((4, 4), "|O"), bytes(64)), "Python objects"),
    "four.npz": (npz(npy((2, 2, 2, 2)), bytes(16)), "two or three dimensions"),
    "newer.npz": (npz(npy((4, 4)), bytes(16), version=b"\3\0"), "npy 1.0 or 2.0"),
    "long_header.npz": (npz(" " * 30000 + npy((4, 4)), bytes(16)), "cannot read"),
    "lzma.npz": (npz(npy((4, 4)), bytes(16), zipfile.ZIP_LZMA), "stored or deflated, got method 14"),
    "bzip2.npz": (npz(npy((4, 4)), bytes(16), zipfile.ZIP_BZIP2), "stored or deflated, got method 12"),
    "code.npz": (npz("__import__('os').abort()"), "cannot read"),
    "deep.npz": (npz("(" * 5000), "cannot read"),
    "ascii.nrrd": (NRRD.replace(b"raw", b"ascii") + b"\n", "encoding raw or gzip, .* has 'ascii'"),
    "text.mha": (META + b"BinaryData = False\nElementDataFile = LOCAL\n", "in binary"),
    "nowhere.mha": (
        META + b"ElementSpacing = 1 nan 1\nElementDataFile = LOCAL\n" + VOLUME.tobytes(),
        "has an invalid geometry",
    ),
    "plane.nrrd": (
        NRRD + b"space directions: (1,0,0) (0,1,0) (1,1,0)\n\n" + VOLUME.tobytes(),
        "has an invalid geometry",
    ),
    # what crashes ITK, or sends it elsewhere
    "dimensions.mha": (
        META.replace(b"= 3", b"= -1") + b"ElementDataFile = LOCAL\n" + VOLUME.tobytes(),
        "-1 dimensions",
    ),
    "in_space.nrrd": (
        NRRD.replace(b"7 6 4", b"7 24").replace(b": 3", b": 2")
        + b"space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0)\n\n",
        r"expected 2 directions of 2 numbers for its axes, .* has \(1,0,0\) \(0,1,0\)",
    ),
    "Mixed.Nii.gz": (gzip.compress(b"x"), r"expected \.nii\.gz, got Mixed\.Nii\.gz"),
    "mixed.NIi": (b"x", r"expected \.nii, got mixed\.NIi"),
    "number.nrrd": (
        NRRD + b"space directions: (1,0,0) (0," + b"9" * 5000 + b",0) (0,0,1)\n\n",
        "has an invalid geometry",
    ),
    "absolute.nrrd": (NRRD + b"data file: /etc/passwd\n\n", "'datafile', which is not read"),
    "list.nrrd": (NRRD + b"DATA FILE: LIST\n/etc/passwd\n\n", "'datafile', which is not read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_lies_is_refused_and_costs_nothing(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with peak_bytes() as peak, pytest.raises(ImageError, match=reason):
        read_image(tmp_path / name)
    assert peak() < 5e6


CASES: dict[str, tuple[bytes, npt.NDArray[Any]]] = {
    "one.png": (picture(".png", GREY[:1, :1]), GREY[:1, :1]),
    "alpha.png": (picture(".png", np.dstack([RGB[..., ::-1], GREY])), RGB),
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


@pytest.mark.parametrize("name", CASES)
def test_rare_but_right(tmp_path: Path, name: str) -> None:
    content, expected = CASES[name]
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / name).pixels, expected)


NIBABEL: dict[str, tuple[int, ...] | str] = {
    "anatomical.nii": (25, 41, 33),
    "example4d.nii.gz": "two or three dimensions",
    "example_nifti2.nii.gz": "expected NIfTI-1",
    "functional.nii": "two or three dimensions",
    "reoriented_anat_moved.nii": (22, 26, 21),
    "resampled_anat_moved.nii": (3, 21, 17),  # with NaN
    "row_major.dconn.nii": "expected NIfTI-1",
    "standard.nii.gz": (7, 5, 4),
    "analyze.hdr": "expected one of",
    "nifti1.hdr": "expected one of",
    "nifti2.hdr": "expected one of",
}


def test_nibabels_samples_are_read_as_nibabel_reads_them_or_refused() -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    assert {file.name for file in folder.iterdir() if file.name.endswith((".nii", ".nii.gz", ".hdr"))} == NIBABEL.keys()
    for name, expected in NIBABEL.items():
        if isinstance(expected, str):
            with pytest.raises(ImageError, match=expected):
                read_image(folder / name)
        else:
            loaded, theirs = read_image(folder / name), nibabel.load(folder / name)
            assert loaded.pixels.shape == expected
            np.testing.assert_array_equal(loaded.pixels, np.squeeze(theirs.get_fdata()).T)
            assert loaded.frame is not None
            np.testing.assert_allclose(loaded.frame.spacing_mm, theirs.header.get_zooms()[:3], rtol=1e-5)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_values_and_frame_are_those_of_itk(tmp_path: Path, suffix: str) -> None:
    rng, path = np.random.default_rng(2), tmp_path / f"x{suffix}"
    dtypes = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
    for index, dtype in enumerate(dtypes):
        image = sitk.GetImageFromArray(rng.integers(0, 100, (4, 5, 6)).astype(dtype))
        matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        image.SetDirection((matrix * np.sign(np.linalg.det(matrix))).ravel())
        image.SetSpacing(rng.uniform(0.1, 5, 3))
        image.SetOrigin(rng.uniform(-200, 200, 3))
        sitk.WriteImage(image, str(path), index % 2 == 1)
        loaded, theirs = read_image(path), sitk.ReadImage(str(path))
        assert loaded.pixels.dtype == dtype
        np.testing.assert_array_equal(loaded.pixels, sitk.GetArrayFromImage(theirs))
        assert loaded.frame is not None
        np.testing.assert_allclose(loaded.frame.spacing_mm, theirs.GetSpacing(), atol=1e-12)
        np.testing.assert_allclose(loaded.frame.origin_mm, theirs.GetOrigin(), atol=1e-12)
        np.testing.assert_allclose(loaded.frame.direction, theirs.GetDirection(), atol=1e-12)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_colour_slices_wherever_their_channels_lie(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(RGB, isVector=True), str(tmp_path / f"x{suffix}"))
    np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}").pixels, RGB)


@pytest.mark.parametrize("space", ["RAS", "left-anterior-superior", "LPS", "scanner-xyz", ""])
def test_nrrd_spaces_are_those_of_itk(tmp_path: Path, space: str) -> None:
    where = f"space: {space}\n" if space else "space dimension: 3\n"
    where += "space directions: (0,2,0) (0.5,0.1,0) (0,0,-3)\nspace origin: (7,8,9)\n\n"
    (tmp_path / "x.nrrd").write_bytes(NRRD + where.encode() + VOLUME.tobytes())
    frame, theirs = read_image(tmp_path / "x.nrrd").frame, sitk.ReadImage(str(tmp_path / "x.nrrd"))
    assert frame is not None
    np.testing.assert_allclose(frame.spacing_mm, theirs.GetSpacing())
    np.testing.assert_allclose(frame.origin_mm, theirs.GetOrigin())
    np.testing.assert_allclose(frame.direction, theirs.GetDirection())


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd", "x.mha", "x.npz", "x.png"])
def test_damaged_packed_values_are_never_given_out(tmp_path: Path, name: str) -> None:
    """ITK gives them: zeros, or whatever the damaged stream unpacks to."""
    values = VOLUME if name != "x.png" else RGB
    if name == "x.npz":
        np.savez_compressed(tmp_path / name, imgs=values)
    elif name == "x.png":
        write_picture(tmp_path / name, values)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / name), True)
    content, rng, refused = (tmp_path / name).read_bytes(), np.random.default_rng(3), 0
    for at in rng.integers(len(content) - 300, len(content), 60).tolist():
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        (tmp_path / name).write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_image(tmp_path / name).pixels, values)
        except ImageError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha", "x.npz"])
def test_reading_costs_little_more_than_the_values(tmp_path: Path, name: str) -> None:
    values = np.zeros((64, 256, 256), np.int16)  # 8 MiB
    values[::3] = 7
    if name.endswith(".npz"):
        np.savez_compressed(tmp_path / name, imgs=values)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / name), True)
    with peak_bytes() as peak:
        loaded = read_image(tmp_path / name)
    np.testing.assert_array_equal(loaded.pixels, values)
    assert values.nbytes <= peak() < values.nbytes + (5 << 20)


def mhd(folder: Path, values: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "x.mhd").write_bytes(META + f"ElementDataFile = {values}\n".encode())
    return folder / "x.mhd"


def test_values_beside_their_header(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/x.raw", "in/two words.raw", "out.raw"):
        (tmp_path / name).write_bytes(VOLUME.tobytes())
    for name in ("x.raw", "./x.raw", "two words.raw"):
        np.testing.assert_array_equal(read_image(mhd(tmp_path / "in", name)).pixels, VOLUME)
    (tmp_path / "in/link.raw").symlink_to(tmp_path / "out.raw")
    for name in (
        "../out.raw",
        str(tmp_path / "out.raw"),
        "link.raw",
        "LIST",
        "x%d.raw 1 4 1",
        "/dev/zero",
        "../in/../out.raw",
    ):
        with pytest.raises(ImageError, match="in the folder of"):
            read_image(mhd(tmp_path / "in", name))
    with pytest.raises(ImageError, match=r"a missing file of values: none\.raw"):
        read_image(mhd(tmp_path / "in", "none.raw"))
    (tmp_path / "in/x.raw").write_bytes(VOLUME.tobytes()[:-1])
    with pytest.raises(ImageError, match="is cut: expected 336 bytes, found 335"):
        read_image(mhd(tmp_path / "in", "x.raw"))


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait forever
    with pytest.raises(FileMissingError):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(FileMissingError):
        read_image("a\0b.png")


WRITTEN = ("labels.png", "labels.npz", "labels.nii.gz", "labels.mha")


def contents() -> list[npt.NDArray[np.uint16]]:
    return [np.random.default_rng(seed).integers(0, 900, (64, 64)).astype(np.uint16) for seed in range(2)]


def write_and_be_killed(folder: Path, times: int) -> None:
    """Each child writes both contents in turns until it is killed."""
    rng = np.random.default_rng(4)
    for _ in range(times):
        child = os.fork()
        if not child:
            while True:
                for labels in contents():
                    for name in WRITTEN:
                        write_labels(folder / name, labels, None)
        time.sleep(rng.uniform(0.0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_killed_process_leaves_whole_files(tmp_path: Path) -> None:
    whole: dict[str, list[bytes]] = {}
    for name in WRITTEN:
        for labels in contents():
            write_labels(tmp_path / name, labels, None)
            whole.setdefault(name, []).append((tmp_path / name).read_bytes())
    code = (
        "import sys, pathlib, tests.sdk.reading.test_hostile as t; t.write_and_be_killed(pathlib.Path(sys.argv[1]), 40)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() in whole[name]
    others = {file.name for file in tmp_path.iterdir()} - set(WRITTEN)
    assert all(re.fullmatch(r"\.\d+\.[0-9a-f]{8}\.partial\.labels\.(png|npz|nii\.gz|mha)", name) for name in others)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.npz", "x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, name: str) -> None:
    """A limit on a file's size, since no disk can be filled here: the write fails in the same place."""
    labels = np.random.default_rng(5).integers(0, 60000, (100, 100)).astype(np.uint16)
    (tmp_path / name).write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(ImageError, match=rf"output: cannot write .*{name}: ."):
            write_labels(tmp_path / name, labels, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [(name, "old")]


def test_a_folder_that_takes_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="output: cannot write"):
        write_picture(tmp_path / "file" / "x.png", RGB)
    (tmp_path / "x.png").mkdir()
    with pytest.raises(ImageError, match=r"output: cannot write .*Is a directory"):
        write_picture(tmp_path / "x.png", RGB)
    with pytest.raises(ImageError, match=r"output: cannot write .*null"):
        write_picture(tmp_path / "\0.png", RGB)
    assert {file.name for file in tmp_path.iterdir()} == {"file", "x.png"}
