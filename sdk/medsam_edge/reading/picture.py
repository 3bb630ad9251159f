"""Picture files: png, jpg, bmp and tif, decoded by OpenCV.

OpenCV allocates memory before it knows whether the file can fill it, and accepts further formats. The header is
therefore parsed here first: the format, the size, and whether the file is complete.
"""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import LateArray, LoadedImage
from medsam_edge.reading.limits import check_claim

JPEG_SCANS = 100
"""A progressive picture has about ten scans. Each costs a pass over all pixels, however few bytes it has."""

REDUCED_SIDE = 512
"""Pixels that the longer side of a reduced JPEG has at least: twice the square of the packaged network."""
REDUCTIONS = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}
"""OpenCV's flags by what they divide the sides by. With IMREAD_ANYCOLOR, colour stays colour."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_GREY_ALPHA = 4
_JPEG = b"\xff\xd8\xff"
_JPEG_SIZES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # SOF0 to SOF15
_JPEG_SCAN = 0xDA
_JPEG_BARE = (0x01, *range(0xD0, 0xD8))  # markers without a length
_TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _CHANNELS, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 322, 323

Claim = tuple[int, int, int, int]
"""What a header asks memory for: height, width, bytes per pixel in memory, bits per pixel in the file."""


def read_picture(file: Path, reduced: bool = False, exif_rotation: bool = True) -> LoadedImage:
    """Read (H, W) grey or (H, W, 3) RGB; uint8, uint16, or another dtype of a tif.

    OpenCV's rules hold: palettes and CMYK become RGB, one bit becomes 0 and 255, alpha is dropped without blending, and
    the EXIF orientation is applied, unless it is not wanted. Damage inside a png fails its checksums; inside other
    formats it may go unnoticed.

    Args:
        reduced: whether a large JPEG is decoded at a half, a quarter or an eighth of its sides, the smallest that
            leaves REDUCED_SIDE pixels of the longer one. `LoadedImage.whole` decodes the same bytes in full.

    Raises:
        ImageError: the file is none of these formats (the suffix does not matter), damaged, cut, too large, animated,
            or of several pages.
    """
    raw = file.read_bytes()
    claims = _claims(raw, file)
    for claim in claims:
        check_claim(file, claim[:2], *claim[2:])
    ignored = 0 if exif_rotation else cv2.IMREAD_IGNORE_ORIENTATION
    small = _reduced(raw, file, *claims[0][:2]) if reduced and raw.startswith(_JPEG) and exif_rotation else None
    pixels, whole = small or (_decode(raw, file, ignored), None)
    return LoadedImage(pixels, color=pixels.ndim == 3 or None, whole=whole)


def _reduced(raw: bytes, file: Path, height: int, width: int) -> tuple[npt.NDArray[Any], LateArray] | None:
    """A reduced JPEG and the whole one; None for a small one, and where the sides do not tell whether EXIF turns it."""
    divisor = next((n for n in REDUCTIONS if -(-max(height, width) // n) >= REDUCED_SIDE), None)
    if divisor is None:
        return None
    pixels = _decode(raw, file, REDUCTIONS[divisor])
    turns = {(height, width), (width, height)}
    shapes = [shape for shape in turns if tuple(-(-side // divisor) for side in shape) == pixels.shape[:2]]
    return (pixels, LateArray(shapes[0], partial(_decode, raw, file))) if len(shapes) == 1 else None


def _decode(raw: bytes, file: Path, further: int = 0) -> npt.NDArray[Any]:
    """(H, W) or (H, W, 3) RGB, read-only."""
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | further
    try:
        image = cv2.imdecode(np.frombuffer(raw, dtype=np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"image: cannot read {file}: {error.err}") from error
    if image is None:
        raise ImageError(f"image: cannot read {file}: damaged, or a variant that OpenCV does not know")
    if image.ndim == 3 and raw.startswith(_PNG) and raw[25] == _PNG_GREY_ALPHA:  # OpenCV gives it three channels
        image = np.ascontiguousarray(image[:, :, 0])
    elif image.ndim == 3:
        in_place = image.dtype in (np.uint8, np.uint16, np.float32)  # cvtColor takes no others
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image) if in_place else image[:, :, ::-1]
    image.setflags(write=False)
    return image


def _claims(raw: bytes, file: Path) -> list[Claim]:
    """Parse what the header asks memory for; more than one claim if several sizes are stored."""
    readers = {_PNG: _png, _JPEG: _jpeg, b"BM": _bmp, b"II": _tiff, b"MM": _tiff}
    reader = next((reader for magic, reader in readers.items() if raw.startswith(magic)), None)
    if reader is None:
        raise ImageError(f"image: cannot read {file}: not a png, jpg, bmp or tif")
    try:
        return reader(raw, file)
    except (struct.error, KeyError) as error:
        raise ImageError(f"image: cannot read {file}: its header is cut or damaged") from error


def _png(raw: bytes, file: Path) -> list[Claim]:
    width, height, depth, color = struct.unpack_from(">IIBB", raw, 16)
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", raw, at)
        at += 12 + length
        if at > len(raw):
            raise ImageError(f"image: {file} is cut: {len(raw)} bytes, its {kind.decode('latin-1')} ends at {at}")
        if kind == b"acTL":
            raise ImageError(f"image: expected one picture, {file} is animated")
    stored, unpacked = {0: (1, 1), 2: (3, 3), 3: (1, 3), 4: (2, 4), 6: (4, 4)}[color]
    return [(height, width, unpacked * (2 if depth == 16 else 1), stored * depth)]


def _jpeg(raw: bytes, file: Path) -> list[Claim]:
    at = 2
    claims: list[Claim] = []
    while True:
        fill, marker = struct.unpack_from("BB", raw, at)
        if fill != 0xFF or (marker == _JPEG_SCAN and not claims):
            raise ImageError(f"image: cannot read {file}: no size in its header")
        if marker == _JPEG_SCAN:
            break
        if marker in _JPEG_SIZES:
            height, width, channels = struct.unpack_from(">HHB", raw, at + 5)
            claims.append((height, width, channels, 8 * channels))
        at += 1 if marker == 0xFF else 2 if marker in _JPEG_BARE else 2 + struct.unpack_from(">H", raw, at + 2)[0]
    end = raw.find(b"\xff\xd9", at)
    if end < 0:
        raise ImageError(f"image: {file} is cut: it has no end")  # some versions of OpenCV paint the rest grey
    scans = raw.count(b"\xff\xda", at, end)
    if scans > JPEG_SCANS:
        raise ImageError(f"image: expected at most {JPEG_SCANS} scans, {file} has {scans}")
    return claims


def _bmp(raw: bytes, file: Path) -> list[Claim]:
    old = struct.unpack_from("<I", raw, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", raw, 18)
    (bits,) = struct.unpack_from("<H", raw, 24 if old else 28)
    return [(abs(height), width, 3, bits)]


def _tiff(raw: bytes, file: Path) -> list[Claim]:
    order = "<" if raw.startswith(b"II") else ">"
    big = {42: False, 43: True}[struct.unpack_from(order + "H", raw, 2)[0]]
    offset, entry = (order + "Q", order + "HHQ") if big else (order + "I", order + "HHI")
    (at,) = struct.unpack_from(offset, raw, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), raw, at)
    at += 8 if big else 2
    tags: dict[int, int] = {}
    for _ in range(count):
        tag, kind, values = struct.unpack_from(entry, raw, at)
        at += struct.calcsize(entry)
        if tag in (_WIDTH, _HEIGHT, _BITS, _CHANNELS, _TILE_WIDTH, _TILE_HEIGHT):
            if tag in tags:  # readers differ in which one they use
                raise ImageError(f"image: cannot read {file}: it has tag {tag} twice")
            form = order + _TIFF_TYPES[kind]
            inline = values * struct.calcsize(form) <= struct.calcsize(offset)
            place = at if inline else struct.unpack_from(offset, raw, at)[0]
            (tags[tag],) = struct.unpack_from(form, raw, place)
        at += struct.calcsize(offset)
    if struct.unpack_from(offset, raw, at)[0] != 0:
        raise ImageError(f"image: expected one page, {file} has more")
    channels, bits = tags.get(_CHANNELS, 1), tags.get(_BITS, 1)
    pixel_bytes = max(3, channels * -(-bits // 8))  # a palette becomes RGB
    claims = [(tags[_HEIGHT], tags[_WIDTH], pixel_bytes, channels * bits)]
    if _TILE_WIDTH in tags:
        claims.append((tags[_TILE_HEIGHT], tags[_TILE_WIDTH], max(4, pixel_bytes), channels * bits))  # as RGBA
    return claims
