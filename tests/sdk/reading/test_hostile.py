"""Files that lie about their size or content are refused before they cost memory."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.reading.limits import MAXIMUM_BYTES
from medsam_edge.reading.read import read_image
from medsam_edge.writing.picture import write_picture
from tests.sdk.reading.crafted import (
    META,
    NRRD,
    RGB,
    VOLUME,
    lying_zip,
    nifti,
    npy,
    npz,
    picture,
    png,
    tiff,
)

HUGE = f"bytes of values, more than {MAXIMUM_BYTES}"


REFUSED: dict[str, tuple[bytes, str]] = {
    # sizes
    "wide.png": (png(65536, 65536), HUGE),
    "deep.png": (png(20000, 20000, 16, 2), HUGE),
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
    "doubles.nii": (nifti((1024, 1024, 300), "<f8", data=b""), HUGE),
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


@contextmanager
def peak_bytes() -> Iterator[Callable[[], int]]:
    """Yield a function that gives the peak of what Python and numpy allocated in the block."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield lambda: found[0]
    finally:
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


@pytest.mark.parametrize("name", REFUSED)
def test_a_lying_file_is_refused_before_memory_is_taken(tmp_path: Path, name: str) -> None:
    content, reason = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with peak_bytes() as peak, pytest.raises(ImageError, match=reason):
        read_image(tmp_path / name)
    assert peak() < 5e6


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd", "x.mha", "x.npz", "x.png"])
def test_damaged_packed_values_are_refused(tmp_path: Path, name: str) -> None:
    """ITK returns zeros, or whatever the damaged stream unpacks to."""
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
def test_reading_takes_little_more_memory_than_the_values(tmp_path: Path, name: str) -> None:
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


def test_pipes_and_null_characters_count_as_missing_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait forever
    with pytest.raises(FileMissingError):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(FileMissingError):
        read_image("a\0b.png")
