"""Kinds of TIFF, written by tifffile, which shares no code with OpenCV, or byte by byte."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from medsam_edge.errors import ImageError
from medsam_edge.reading.read import read_image

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
PREDICTED = ["uint8", "int8", "uint16", "int16", "uint32", "int32"]  # those that tifffile writes by itself
LAYOUTS: list[dict[str, Any]] = [
    {}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (32, 64)}, {"rowsperstrip": 5},
    {"compression": "zlib", "predictor": True}, {"tile": (64, 32), "compression": "zlib", "byteorder": ">"},
]  # fmt: skip


def noise(dtype: str, channels: int, seed: int = 0) -> npt.NDArray[Any]:
    """(37, 45, channels) of all values of the dtype."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.random((37, 45, channels)) - 0.5).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (37, 45, channels), dtype, endpoint=True)


def write(path: Path, image: npt.NDArray[Any], **how: Any) -> Path:
    if image.dtype.name not in PREDICTED:
        how.pop("predictor", None)
    tifffile.imwrite(path, image, **{"metadata": None, **how})
    return path


def page(data: bytes, width: int, height: int, bits: int, **tags: int) -> bytes:
    """A grey TIFF of one strip; `tags` are t262=0 and the like."""
    values = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    values |= {int(name[1:]): value for name, value in tags.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(values.items()))
    at = 8 + len(data)
    return struct.pack("<2sHI", b"II", 42, at) + data + struct.pack("<H", len(values)) + entries + bytes(4)


@contextmanager
def warned_of_alpha() -> Iterator[None]:
    with pytest.warns(UserWarning, match="has an alpha channel, which is dropped"):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", LAYOUTS, ids=str)
def test_separate_planes_are_the_same_picture(tmp_path: Path, dtype: str, how: dict[str, Any]) -> None:
    rgb = noise(dtype, 3)
    path = write(tmp_path / "x.tif", np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate", **how)
    read = read_image(path)
    assert read.color
    assert read.pixels.dtype == dtype
    np.testing.assert_array_equal(read.pixels, rgb)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_the_alpha_of_rgb_is_dropped_with_a_warning(tmp_path: Path, dtype: str, kind: str, planar: str) -> None:
    rgba = noise(dtype, 4)
    image = np.moveaxis(rgba, -1, 0) if planar == "separate" else rgba
    path = write(tmp_path / "x.tif", image, photometric="rgb", planarconfig=planar, extrasamples=[kind])
    with warned_of_alpha():
        read = read_image(path)
    assert read.pixels.dtype == dtype
    np.testing.assert_array_equal(read.pixels, rgba[..., :3])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("how", [{}, {"tile": (32, 64)}, {"byteorder": ">", "rowsperstrip": 5}], ids=str)
def test_the_alpha_of_grey_is_dropped_with_a_warning(
    tmp_path: Path, dtype: str, planar: Any, how: dict[str, Any]
) -> None:
    both = noise(dtype, 2)
    image = np.moveaxis(both, -1, 0) if planar == "separate" else both
    path = write(tmp_path / "x.tif", image, photometric="minisblack", planarconfig=planar, extrasamples=[2], **how)
    with warned_of_alpha():
        read = read_image(path)
    assert not read.color
    np.testing.assert_array_equal(read.pixels, both[..., 0])


@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_opaque_alpha_is_dropped_without_a_word_and_other_alpha_is_not(tmp_path: Path, suffix: str, dtype: str) -> None:
    rgba = noise(dtype, 4)
    rgba[..., 3] = np.iinfo(dtype).max
    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), rgba[..., [2, 1, 0, 3]])
    np.testing.assert_array_equal(read_image(path).pixels, rgba[..., :3])  # a warning is an error here
    rgba[5, 5, 3] -= 1
    cv2.imwrite(str(path), rgba[..., [2, 1, 0, 3]])
    with warned_of_alpha():
        np.testing.assert_array_equal(read_image(path).pixels, rgba[..., :3])


@pytest.mark.parametrize("dtype", [name for name in DTYPES if not name.startswith("float")])
@pytest.mark.parametrize("how", LAYOUTS, ids=str)
def test_where_zero_is_white_the_values_are_turned_round(tmp_path: Path, dtype: str, how: dict[str, Any]) -> None:
    grey = noise(dtype, 1)[..., 0]
    read = read_image(write(tmp_path / "x.tif", grey, photometric="miniswhite", **how)).pixels
    limits = np.iinfo(dtype)
    assert read.dtype == dtype
    assert [int(value) for value in read.ravel()] == [limits.max + limits.min - int(value) for value in grey.ravel()]


def test_a_float_picture_whose_zero_is_white_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", noise("float32", 1)[..., 0], photometric="miniswhite")
    with pytest.raises(ImageError, match="expected whole numbers where zero is white"):
        read_image(path)


@pytest.mark.parametrize("channels", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_channels_that_are_no_colours_are_refused(tmp_path: Path, channels: int, dtype: str, planar: Any) -> None:
    image = noise(dtype, channels)
    image = np.moveaxis(image, -1, 0) if planar == "separate" else image
    path = write(tmp_path / "x.tif", image, photometric="minisblack", planarconfig=planar)
    with pytest.raises(ImageError, match=rf"expected 1 value a pixel, or RGB; .* has {channels} channels"):
        read_image(path)


def test_rgb_with_two_channels_more_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", noise("uint8", 5), photometric="rgb", extrasamples=[2, 0])
    with pytest.raises(ImageError, match="has 5 channels"):
        read_image(path)


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("white", [False, True])
def test_packed_bits_keep_their_values(tmp_path: Path, bits: int, white: bool) -> None:
    values = [0, 1, 2, 3, 5, (1 << bits) - 1, (1 << bits) - 2]
    row = "".join(f"{value:0{bits}b}" for value in values)
    row += "0" * (-len(row) % 8)
    data = bytes(int(row[at : at + 8], 2) for at in range(0, len(row), 8))
    (tmp_path / "x.tif").write_bytes(page(data * 2, len(values), 2, bits, t262=0 if white else 1))
    expected = [(1 << bits) - 1 - value for value in values] if white else values
    assert read_image(tmp_path / "x.tif").pixels.tolist() == [expected] * 2


def test_one_bit_becomes_0_and_255(tmp_path: Path) -> None:
    for white, expected in ((1, [255, 0, 255, 0]), (0, [0, 255, 0, 255])):
        (tmp_path / "x.tif").write_bytes(page(b"\xa0", 4, 1, 1, t262=white))
        assert read_image(tmp_path / "x.tif").pixels.tolist() == [expected]


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 9, 11, 20, 24])
def test_other_bits_are_refused_by_name(tmp_path: Path, bits: int) -> None:
    (tmp_path / "x.tif").write_bytes(page(bytes(range(64)), 8, 2, bits))
    with pytest.raises(ImageError, match=f"expected 1, 8, .* bits a sample; .* has whole numbers of {bits} bits"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"t258": 16, "t339": 3}, "floats of 16 bits"),
        ({"t258": 32, "t339": 5}, "samples of format 5 of 32 bits"),
        ({"t258": 64, "t339": 6}, "samples of format 6 of 64 bits"),
        ({"t262": 4}, "photometric interpretation 4"),
        ({"t262": 8, "t277": 3}, "photometric interpretation 8"),
        ({"t262": 32803}, "photometric interpretation 32803"),
        ({"t262": 3, "t258": 1}, "expected a palette of 4 or 8 bits"),
        ({"t284": 3}, "expected planar configuration 1 or 2"),
        ({"t254": 1}, "a reduced one of another"),
        ({"t32997": 7}, "expected one page, .* has 7 planes"),
        ({"t278": 1}, "is cut: expected 2 strips or tiles, found 1"),
        ({"t273": 0}, "is cut: expected 1 strips or tiles, found 0"),
    ],
    ids=str,
)
def test_other_kinds_are_refused_by_name(tmp_path: Path, tags: dict[str, int], message: str) -> None:
    (tmp_path / "x.tif").write_bytes(page(bytes(range(128)), 8, 2, 8, **tags))
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "x.tif")


def test_a_palette_becomes_rgb(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 1 << 16, (3, 256), np.uint16)
    grey = noise("uint8", 1)[..., 0]
    path = write(tmp_path / "x.tif", grey, photometric="palette", colormap=colors)
    np.testing.assert_array_equal(read_image(path).pixels, np.moveaxis(colors[:, grey] >> 8, 0, -1))


STACK = np.stack([np.full((24, 20), 1000 * (z + 1), np.uint16) for z in range(6)])


@pytest.mark.parametrize("axes", ["ZYX", "CYX", "TYX"])
def test_an_imagej_stack_is_refused(tmp_path: Path, axes: str) -> None:
    write(tmp_path / "pages.tif", STACK, imagej=True, metadata={"axes": axes})
    counted = "slices" if axes == "ZYX" else "channels" if axes == "CYX" else "frames"
    for at, text in enumerate((f"ImageJ=1.53t\nimages=6\n{counted}=6\n", f"ImageJ=1.53t\n{counted}=6\nloop=false\n")):
        # one page, the other planes behind it, as ImageJ writes what is larger than 4 GB
        write(tmp_path / f"{at}.tif", STACK[0], description=text)
        with (tmp_path / f"{at}.tif").open("ab") as stream:
            stream.write(STACK[1:].tobytes())
    for name, message in (("pages", "has more|has 6 planes"), ("0", "has 6 planes"), ("1", "has 6 planes")):
        with pytest.raises(ImageError, match=f"expected one page, .* ({message})"):
            read_image(tmp_path / f"{name}.tif")


def test_one_plane_of_imagej_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", STACK[2], imagej=True)
    assert (read_image(path).pixels == STACK[2]).all()
    rgb = noise("uint8", 3)
    assert (read_image(write(tmp_path / "rgb.tif", rgb, imagej=True)).pixels == rgb).all()


@pytest.mark.parametrize("axis", ["Z", "C", "T"])
def test_an_ome_stack_is_refused(tmp_path: Path, axis: str) -> None:
    tifffile.imwrite(tmp_path / "x.ome.tif", STACK, metadata={"axes": f"{axis}YX"}, ome=True)
    sizes = " ".join(f'Size{name}="{6 if name == axis else 1}"' for name in "ZCT")
    text = f'<?xml version="1.0"?><OME><Image ID="0"><Pixels SizeX="20" SizeY="24" {sizes}></Pixels></Image></OME>'
    write(tmp_path / "one.ome.tif", STACK[0], description=text)  # one file of a set
    for name in ("x", "one"):
        with pytest.raises(ImageError, match="expected one page"):
            read_image(tmp_path / f"{name}.ome.tif")


def test_one_plane_of_ome_is_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.ome.tif", STACK[2], metadata={"axes": "YX"}, ome=True)
    assert (read_image(tmp_path / "x.ome.tif").pixels == STACK[2]).all()
    rgb = noise("uint16", 3)
    tifffile.imwrite(tmp_path / "rgb.ome.tif", rgb, metadata={"axes": "YXS"}, ome=True, photometric="rgb")
    assert (read_image(tmp_path / "rgb.ome.tif").pixels == rgb).all()


def test_a_stack_in_one_page_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "shaped.tif", STACK[0], description=json.dumps({"shape": [6, 24, 20]}))
    with pytest.raises(ImageError, match=r"expected one page, .* has 6 planes"):
        read_image(tmp_path / "shaped.tif")
    for image in (STACK[0], noise("uint8", 3)):
        tifffile.imwrite(tmp_path / "x.tif", image, metadata={})
        assert (read_image(tmp_path / "x.tif").pixels == image).all()


def test_pages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"expected one page, .* has more"):
        read_image(write(tmp_path / "x.tif", STACK))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(tmp_path: Path, orientation: int, planar: Any) -> None:
    rgb = noise("uint16", 3)
    tag = (274, 3, 1, orientation, True)
    image = np.moveaxis(rgb, -1, 0) if planar == "separate" else rgb
    path = write(tmp_path / "x.tif", image, photometric="rgb", planarconfig=planar, extratags=[tag])
    turned = rgb.transpose(1, 0, 2) if orientation > 4 else rgb
    rows, columns = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1)}[(orientation - 1) % 4 + 1]
    if orientation > 4:  # 5: transposed, 6: its columns turned round, 7: both, 8: its rows
        rows, columns = {5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}[orientation]
    np.testing.assert_array_equal(read_image(path).pixels, turned[::rows, ::columns])


def test_a_picture_that_lies_short_has_no_bytes_of_others(tmp_path: Path) -> None:
    """Planes shorter than they are said to be: what is missing is refused, or read from the file, never from memory."""
    image = noise("uint16", 3)
    path = write(tmp_path / "x.tif", np.moveaxis(image, -1, 0), photometric="rgb", planarconfig="separate")
    path.write_bytes(path.read_bytes()[:-500])
    junk = [np.full(image.nbytes, 0xAB, np.uint8) for _ in range(8)]
    del junk
    with warnings.catch_warnings(), pytest.raises(ImageError):
        read_image(path)
