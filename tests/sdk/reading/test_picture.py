from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.reading.read import read_image
from medsam_edge.writing.picture import write_picture

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


RGB = np.stack([GREY, GREY + 50, GREY + 100], axis=-1)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_png_tif_and_bmp_keep_their_pixels(tmp_path: Path, suffix: str) -> None:
    for name, image in (("grey", GREY), ("rgb", RGB)):
        write_picture(tmp_path / (name + suffix), image)
        assert (read_image(tmp_path / (name + suffix)).pixels == image).all()


def test_16_bits_are_kept_and_alpha_is_dropped(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "deep.png"), GREY.astype(np.uint16) * 1000)
    assert (read_image(tmp_path / "deep.png").pixels == GREY.astype(np.uint16) * 1000).all()
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([RGB[..., ::-1], GREY]))
    assert (read_image(tmp_path / "alpha.png").pixels == RGB).all()


@pytest.mark.parametrize("dtype", ["uint8", ">u2"])
def test_grey_with_alpha_is_read_as_grey(tmp_path: Path, dtype: str) -> None:
    rows = np.dstack([GREY, 255 - GREY]).astype(dtype)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # 0: not filtered
    header = struct.pack(">IIBBBBB", 8, 6, 8 * rows.itemsize, 4, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    (tmp_path / "la.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    read = read_image(tmp_path / "la.png")
    assert not read.color
    np.testing.assert_array_equal(read.pixels, GREY)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_a_colour_tif_keeps_pixels_and_dtype(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    image = RGB.astype(dtype)
    cv2.imwrite(str(tmp_path / "x.tif"), np.ascontiguousarray(image[:, :, ::-1]))
    read = read_image(tmp_path / "x.tif").pixels
    assert read.dtype == dtype
    assert (read == image).all()


def test_a_jpg_with_a_cyrillic_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "снимок.jpg"
    path.write_bytes(cv2.imencode(".jpg", np.full((5, 7), 90, np.uint8))[1].tobytes())
    assert abs(read_image(path).pixels.astype(int) - 90).max() <= 1
