"""Picture files: png, jpg, bmp and tif, decoded by OpenCV.

OpenCV allocates memory before it knows whether the file can fill it, and accepts further formats. The header is
therefore parsed here first: the format, the size, and whether the file is complete.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import LateArray, LoadedImage
from medsam_edge.reading.limits import check_claim
from medsam_edge.reading.tiff import claims as tiff_claims
from medsam_edge.reading.tiff import indices, read_tiff, warn_of_alpha
from medsam_edge.reading.tiff_page import COLOR_MAP, PALETTE, read_page

JPEG_SCANS = 100
"""A progressive picture has about ten scans. Each costs a pass over all pixels, however few bytes it has."""

REDUCED_SIDE = 512
"""Pixels that the longer side of a reduced JPEG has at least: twice the square of the packaged network."""
REDUCTIONS = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}
"""OpenCV's flags by what they divide the sides by. With IMREAD_ANYCOLOR, colour stays colour."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PALETTE, _PNG_GREY_ALPHA, _PNG_ALPHA = 3, 4, (4, 6)
_JPEG = b"\xff\xd8\xff"
_JPEG_SIZES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))  # SOF0 to SOF15
_JPEG_SCAN = 0xDA
_JPEG_BARE = (0x01, *range(0xD0, 0xD8))  # markers without a length
_TIFF = (b"II", b"MM")
_BMP_PALETTE = (("<I", 10), ("<I", 14), ("<H", 28), ("<I", 46))
"""Where a bmp says at which byte its pixels begin, how long its header is, bits a pixel, and colours in its palette."""

Claim = tuple[int, int, int, int]
"""What a header asks memory for: height, width, bytes per pixel in memory, bits per pixel in the file."""


def read_picture(file: Path, reduced: bool = False, exif_rotation: bool = True) -> LoadedImage:
    """Read (H, W) grey or (H, W, 3) RGB; uint8, uint16, or another dtype of a tif.

    Palettes and CMYK become RGB, one bit becomes 0 and 255, alpha is dropped without blending and with a warning unless
    it is opaque, and the EXIF orientation is applied, unless it is not wanted. `medsam_edge.reading.tiff` says which
    kinds of TIFF are read. Damage inside a png fails its checksums; inside other formats it may go unnoticed.

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


def read_indices(file: Path) -> npt.NDArray[Any] | None:
    """(H, W) uint8: the indices of a png's, tif's or bmp's pixels in its palette of colours; None where it has none.

    Raises:
        ImageError: as `read_picture`.
    """
    raw = file.read_bytes()
    for claim in _claims(raw, file):
        check_claim(file, claim[:2], *claim[2:])
    if raw.startswith(_PNG) and raw[25] == _PNG_PALETTE:
        grey, colors = _png_with_grey_palette(raw)
        return _decode_plain(file, grey, False)[..., 0] if np.ptp(colors, axis=1).any() else None
    if raw.startswith(_TIFF) and (page := read_page(raw, file)).photometric == COLOR_MAP and page.bits == 8:
        colors = page.array(PALETTE).reshape(3, -1)
        return _decode_plain(file, indices(page), False) if np.ptp(colors, axis=0).any() else None
    if raw.startswith(b"BM") and (found := _bmp_with_grey_palette(raw)) is not None:
        grey, colors = found
        return _decode_plain(file, grey, False) if np.ptp(colors, axis=1).any() else None
    return None


def _bmp_with_grey_palette(raw: bytes) -> tuple[bytes, npt.NDArray[Any]] | None:
    """The bmp with a palette that gives each index its own grey, and its (N, 3) colours; None without a palette."""
    start, size, bits, used = (struct.unpack_from(form, raw, at)[0] for form, at in _BMP_PALETTE)
    at, count = 14 + size, min(used or 1 << bits, 1 << bits)
    if size < 40 or bits > 8 or not at + 4 * count <= start <= len(raw):
        return None
    colors = np.frombuffer(raw, np.uint8, 4 * count, at).reshape(-1, 4)[:, :3]
    greys = b"".join(bytes((index, index, index, 0)) for index in range(count))
    return raw[:at] + greys + raw[at + 4 * count :], colors


def _png_with_grey_palette(raw: bytes) -> tuple[bytes, npt.NDArray[Any]]:
    """The png with a palette that gives each index its own grey, without transparency; and its (N, 3) colours."""
    parts, at = [raw[:8]], 8
    colors = np.zeros((1, 3), np.uint8)
    while at < len(raw):
        length, kind = struct.unpack_from(">I4s", raw, at)
        body = raw[at + 8 : at + 8 + length]
        if kind == b"PLTE":
            colors = np.frombuffer(body, np.uint8).reshape(-1, 3)
            body = bytes(index // 3 for index in range(length))
        if kind != b"tRNS":
            parts.append(struct.pack(">I4s", length, kind) + body + struct.pack(">I", zlib.crc32(kind + body)))
        at += 12 + length
    return b"".join(parts), colors


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
    if raw.startswith(_TIFF):
        image = read_tiff(read_page(raw, file), partial(_decode_plain, file))
    else:
        image = _decode_plain(file, raw, False, further)
        if raw.startswith(_PNG) and (raw[25] in _PNG_ALPHA or b"tRNS" in raw[: raw.find(b"IDAT")]):
            alpha = _decode_plain(file, raw, True)
            if alpha.ndim == 3 and alpha.shape[2] == 4:
                warn_of_alpha(file, alpha[..., 3])
    image.setflags(write=False)
    return image


def _decode_plain(file: Path, raw: bytes, alpha: bool, further: int = 0) -> npt.NDArray[Any]:
    """What OpenCV makes of the bytes: (H, W), (H, W, 3) RGB, and (H, W, 4) RGBA where alpha is wanted."""
    flags = cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | further
    try:
        image = cv2.imdecode(np.frombuffer(raw, dtype=np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"image: cannot read {file}: {error.err}") from error
    if image is None:
        raise ImageError(f"image: cannot read {file}: damaged, or a variant that OpenCV does not know")
    if image.ndim == 3 and image.shape[2] == 4:
        return image[:, :, [2, 1, 0, 3]]
    if image.ndim == 3 and raw.startswith(_PNG) and raw[25] == _PNG_GREY_ALPHA:  # OpenCV gives it three channels
        return np.ascontiguousarray(image[:, :, 0])
    if image.ndim == 3:
        in_place = image.dtype in (np.uint8, np.uint16, np.float32)  # cvtColor takes no others
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image) if in_place else image[:, :, ::-1]
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


def _tiff(raw: bytes, file: Path) -> list[Claim]:
    return tiff_claims(read_page(raw, file))


def _bmp(raw: bytes, file: Path) -> list[Claim]:
    old = struct.unpack_from("<I", raw, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", raw, 18)
    (bits,) = struct.unpack_from("<H", raw, 24 if old else 28)
    return [(abs(height), width, 3, bits)]
