from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge.reading.read import load_image, read_image
from medsam_edge.writing.picture import write_picture
from tests.sdk.jpegs import TURNED, write_jpeg

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
    with pytest.warns(UserWarning, match="alpha channel, which is dropped"):
        assert (read_image(tmp_path / "alpha.png").pixels == RGB).all()


@pytest.mark.parametrize("dtype", ["uint8", ">u2"])
def test_grey_with_alpha_is_read_as_grey(tmp_path: Path, dtype: str) -> None:
    rows = np.dstack([GREY, 255 - GREY]).astype(dtype)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)  # 0: not filtered
    header = struct.pack(">IIBBBBB", 8, 6, 8 * rows.itemsize, 4, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    (tmp_path / "la.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    with pytest.warns(UserWarning, match="alpha channel, which is dropped"):
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


@pytest.mark.parametrize(
    ("side", "reduced"),
    [(1022, 1022), (1023, 512), (1024, 512), (2044, 1022), (2045, 512), (4088, 1022), (4089, 512), (8192, 1024)],
)
def test_a_jpg_is_reduced_to_512_pixels_or_more(tmp_path: Path, side: int, reduced: int) -> None:
    """By 2, 4 or 8, and what does not divide is rounded up: 1022 / 2, 2044 / 4 and 4088 / 8 are 511."""
    read = load_image(write_jpeg(tmp_path / "x.jpg", np.zeros((16, side), np.uint8)), reduced_jpeg=True)
    assert read.pixels.shape[1] == reduced
    assert (read.whole.shape if read.whole else read.pixels.shape) == (16, side)


@pytest.mark.parametrize("turned", [None, TURNED])
@pytest.mark.parametrize("colour", [False, True])
def test_a_reduced_jpg_has_the_means_of_the_whole_one(tmp_path: Path, colour: bool, turned: int | None) -> None:
    ramp = np.add.outer(np.arange(601) / 4, np.arange(1203) / 12).astype(np.uint8)
    path = write_jpeg(tmp_path / "x.jpg", np.stack([ramp, ramp // 2, 255 - ramp], axis=-1) if colour else ramp, turned)
    full, read = read_image(path), load_image(path, reduced_jpeg=True)
    assert full.pixels.shape[:2] == ((1203, 601) if turned else (601, 1203))
    assert read.whole is not None
    assert read.whole.shape == full.pixels.shape[:2]
    assert read.color == full.color
    means = cv2.resize(full.pixels[:1200, :600] if turned else full.pixels[:600, :1200], None, fx=0.5, fy=0.5)
    part = read.pixels[: means.shape[0], : means.shape[1]]
    assert np.abs(part.astype(int) - means).max() <= 4
    assert np.abs(part.astype(int) - means).mean() < 0.6
    for whole in (read.in_full(), full.in_full()):
        assert whole.whole is None
        assert whole.pixels.flags.writeable is False
        assert (whole.pixels == full.pixels).all()


@pytest.mark.parametrize("turned", [None, TURNED])
def test_a_jpg_whose_half_does_not_tell_how_it_is_turned_is_read_in_full(tmp_path: Path, turned: int | None) -> None:
    path = write_jpeg(tmp_path / "x.jpg", np.arange(1023 * 1024).reshape(1023, 1024).astype(np.uint8), turned)
    read = load_image(path, reduced_jpeg=True)
    assert read.whole is None
    assert read.pixels.shape == ((1024, 1023) if turned else (1023, 1024))
    assert (read.pixels == read_image(path).pixels).all()


def test_only_jpg_files_are_reduced(tmp_path: Path) -> None:
    large = np.arange(64 * 1500).reshape(64, 1500).astype(np.uint8)
    np.savez(tmp_path / "x.npz", imgs=large)
    for name in ("x.png", "x.tif", "x.bmp"):
        write_picture(tmp_path / name, large)
    for name in ("x.png", "x.tif", "x.bmp", "x.npz"):
        read = load_image(tmp_path / name, reduced_jpeg=True)
        assert read.whole is None
        assert (read.pixels == large).all()
