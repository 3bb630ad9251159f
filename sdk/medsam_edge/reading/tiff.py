"""What a TIFF page says of itself, and the page as OpenCV reads it right.

OpenCV reads plain pages: grey, RGB, a palette, CMYK or YCbCr, samples side by side. It misreads, without a word,
separate planes, two or four samples a pixel and WhiteIsZero. Such a page is decoded by a second header, which is added
to the file's bytes: it describes the same stored samples as plain pages. Whatever has no right reading is refused.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError, warn

Pixels = npt.NDArray[Any]
Decode = Callable[[bytes, bool], Pixels]
"""Decodes a file's bytes to (H, W) or (H, W, 3) RGB, and, where its second argument is true, to (H, W, 4) RGBA."""

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION, ORIENTATION = 256, 257, 258, 259, 262, 270, 274
SAMPLES, PLANAR, PREDICTOR, PALETTE, EXTRA, FORMAT, DEPTH = 277, 284, 317, 320, 338, 339, 32997
SUBFILE, ROWS, METAMORPH_PLANES = 254, 278, 33629
STRIPS, TILES = (273, 279), (324, 325)  # offsets, lengths
TILE_WIDTH, TILE_HEIGHT = 322, 323
KEPT = (WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, 266, *STRIPS, ORIENTATION, SAMPLES, ROWS, PLANAR, PREDICTOR,
        TILE_WIDTH, TILE_HEIGHT, *TILES, EXTRA, FORMAT, 347)  # fmt: skip
SHORT, LONG, LONG8 = 3, 4, 16
TYPES = {SHORT: "u2", LONG: "u4", LONG8: "u8"}
SIZES = {
    1: 1,
    2: 1,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    17: 8,
    18: 8,
    SHORT: 2,
    LONG: 4,
    LONG8: 8,
}

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, COLOR_MAP, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, COLOR_MAP: 1, CMYK: 4, YCBCR: 3}
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
FORMATS = {UNSIGNED: "whole numbers", SIGNED: "signed numbers", FLOAT: "floats"}
PACKED_BITS = (10, 12, 14)
FORMAT_BITS = {UNSIGNED: (1, 8, *PACKED_BITS, 16, 32, 64), SIGNED: (8, 16, 32, 64), FLOAT: (32, 64)}
ALPHA = (1, 2)  # colours multiplied by it, and not
OLD_JPEG, JPEG = 6, 7
DESCRIPTION_BYTES = 1 << 20


@dataclass(frozen=True)
class Page:
    """The one page of a TIFF: where each of its entries stands."""

    raw: bytes
    file: Path
    order: str  # < or >
    big: bool  # BigTIFF
    entries: Mapping[int, int]  # tag → position of its entry

    def header(self, tag: int) -> tuple[int, int, int]:
        """Type, number of values, and the position of the first; struct.error where they leave the file."""
        at = self.entries[tag]
        kind, count = struct.unpack_from(self.order + ("HQ" if self.big else "HI"), self.raw, at + 2)
        place, room = (at + 12, 8) if self.big else (at + 8, 4)
        if count * SIZES[kind] > room:
            (place,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), self.raw, place)
        if place + count * SIZES[kind] > len(self.raw):
            raise struct.error
        return kind, count, place

    def array(self, tag: int) -> npt.NDArray[Any]:
        """The whole numbers of a tag, of any number."""
        kind, count, place = self.header(tag)
        return np.frombuffer(self.raw, self.order + TYPES[kind], count, place)

    def values(self, tag: int, missing: int | None = None) -> tuple[int, ...]:
        """The first five values of a tag; KeyError where there is none and nothing stands for it."""
        if tag not in self.entries and missing is not None:
            return (missing,)
        kind, count, place = self.header(tag)
        return tuple(np.frombuffer(self.raw, self.order + TYPES[kind], min(count, 5), place).tolist())

    def value(self, tag: int, missing: int | None = None) -> int:
        """The first value of a tag; struct.error where there is none."""
        found = self.values(tag, missing)
        if not found:
            raise struct.error
        return found[0]

    @property
    def photometric(self) -> int:
        """What the samples mean; without the tag, as libtiff has it."""
        return self.value(PHOTOMETRIC, RGB if self.samples >= 3 else BLACK_IS_ZERO)

    @property
    def samples(self) -> int:
        """Samples a pixel, all that are stored."""
        return self.value(SAMPLES, 1)

    @property
    def bits(self) -> int:
        """Bits a sample."""
        return self.value(BITS, 1)


def read_page(raw: bytes, file: Path) -> Page:
    """The page of a TIFF; ImageError for several pages, struct.error or KeyError for a damaged header."""
    order = "<" if raw.startswith(b"II") else ">"
    big = {42: False, 43: True}[struct.unpack_from(order + "H", raw, 2)[0]]
    offset, size = (order + "Q", 20) if big else (order + "I", 12)
    (at,) = struct.unpack_from(offset, raw, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), raw, at)
    at += 8 if big else 2
    entries: dict[int, int] = {}
    for _ in range(count):
        (tag,) = struct.unpack_from(order + "H", raw, at)
        if tag in entries and tag in KEPT:  # readers differ in which one they use
            raise ImageError(f"image: cannot read {file}: it has tag {tag} twice")
        entries.setdefault(tag, at)
        at += size
    if struct.unpack_from(offset, raw, at)[0] != 0:
        raise ImageError(f"image: expected one page, {file} has more")
    page = Page(raw, file, order, big, entries)
    planes = _planes(page)
    if planes > 1:
        raise ImageError(f"image: expected one page, {file} has {planes} planes")
    if page.value(SUBFILE, 0) & 1:
        raise ImageError(f"image: expected a whole picture, {file} is a reduced one of another")
    return page


def claims(page: Page) -> list[tuple[int, int, int, int]]:
    """What the page asks memory for: height, width, bytes per pixel in memory, bits per pixel in the file."""
    stored = page.samples * page.bits
    pixel_bytes = max(3, page.samples * -(-page.bits // 8))  # a palette becomes RGB
    sizes = [(page.value(HEIGHT), page.value(WIDTH), pixel_bytes, stored)]
    if TILE_WIDTH in page.entries:
        sizes.append((page.value(TILE_HEIGHT), page.value(TILE_WIDTH), max(4, pixel_bytes), stored))  # as RGBA
    return sizes


def read_tiff(page: Page, decode: Decode) -> Pixels:
    """(H, W) or (H, W, 3) RGB in the stored values; WhiteIsZero is turned round, one bit becomes 0 and 255.

    A warning says that an alpha channel which is not opaque is dropped.

    Raises:
        ImageError: samples of a kind that is not read; the file and the kind are named.
    """
    _check(page)
    colors, turned = COLORS[page.photometric], page.photometric == WHITE_IS_ZERO
    alpha = None
    if page.samples > 1 and page.value(PLANAR, 1) == 2:
        planes = [decode(_plane(page, index), False) for index in range(page.samples)]
        alpha = planes[colors] if page.samples > colors else None
        pixels = np.stack(planes[:3], axis=-1) if colors == 3 else planes[0]
    elif page.samples == 4 and colors == 3:  # what is not said to be alpha is not multiplied in
        both = decode(rewritten(page, {EXTRA: [0]}), True)
        pixels, alpha = np.ascontiguousarray(both[..., :3]), both[..., 3]
    elif page.samples == 2:
        both = decode(_side_by_side(page), False)
        both = both.reshape(len(both), -1, 2)
        pixels, alpha = np.ascontiguousarray(both[..., 0]), both[..., 1]
    else:
        pixels = decode(rewritten(page, {PHOTOMETRIC: [BLACK_IS_ZERO]}) if turned else page.raw, False)
    if turned:
        pixels = ~pixels
    if page.bits in PACKED_BITS:  # OpenCV shifts them to the top of 16
        pixels = pixels >> (16 - page.bits)
    if alpha is not None:
        warn_of_alpha(page.file, alpha)
    return pixels


def warn_of_alpha(file: Path, alpha: Pixels) -> None:
    """Warn that an alpha channel is dropped, unless it is opaque everywhere."""
    opaque = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    if not (alpha >= opaque).all():
        warn(f"image: {file} has an alpha channel, which is dropped: values are taken as they are stored")


def indices(page: Page) -> bytes:
    """The bytes of a checked page with the indices of its palette as grey values."""
    _check(page)
    return rewritten(page, {PHOTOMETRIC: [BLACK_IS_ZERO], EXTRA: [], PALETTE: []})


def rewritten(page: Page, changes: Mapping[int, Sequence[int]]) -> bytes:
    """The file's bytes with another first page: `changes` by tag, none for a tag to leave out; the same samples."""
    pointer, size, count = ("Q", 8, "Q") if page.big else ("I", 4, "H")
    more = bytearray(len(page.raw) % 2)
    entries = []
    for tag in sorted({*KEPT, *changes}):
        values = changes.get(tag)
        if values is None and tag in page.entries:
            at = page.entries[tag]
            entries.append(page.raw[at : at + 4 + 2 * size])
        elif values:
            kind = (LONG8 if page.big else LONG) if tag in (*STRIPS, *TILES, WIDTH, TILE_WIDTH) else SHORT
            data = np.asarray(values, page.order + TYPES[kind]).tobytes()
            if len(data) > size:
                place, data = len(page.raw) + len(more), data + bytes(len(data) % 2)
                more += data
                data = struct.pack(page.order + pointer, place)
            entries.append(struct.pack(page.order + "HH" + pointer, tag, kind, len(values)) + data.ljust(size, b"\0"))
    first = struct.pack(page.order + pointer, len(page.raw) + len(more))
    more += struct.pack(page.order + count, len(entries)) + b"".join(entries) + bytes(size)
    start = 8 if page.big else 4
    return b"".join((page.raw[:start], first, memoryview(page.raw)[start + size :], more))


def _plane(page: Page, index: int) -> bytes:
    """One of the separate planes as a grey page: its share of the strips or tiles."""
    changes: dict[int, Sequence[int]] = {
        BITS: [page.bits], FORMAT: [page.value(FORMAT, UNSIGNED)], PHOTOMETRIC: [BLACK_IS_ZERO], SAMPLES: [1],
        PLANAR: [1], EXTRA: [],
    }  # fmt: skip
    for tag in TILES if TILE_WIDTH in page.entries else STRIPS:
        stored = page.array(tag)
        count = len(stored) // page.samples
        changes[tag] = stored[index * count : (index + 1) * count].tolist()
    return rewritten(page, changes)


def _side_by_side(page: Page) -> bytes:
    """Two samples a pixel as a grey page of twice the width."""
    wide = {tag: [2 * page.value(tag)] for tag in (WIDTH, TILE_WIDTH) if tag in page.entries}
    one = {BITS: [page.bits], FORMAT: [page.value(FORMAT, UNSIGNED)], SAMPLES: [1], EXTRA: []}
    return rewritten(page, {**wide, **one, PHOTOMETRIC: [BLACK_IS_ZERO]})


def _check(page: Page) -> None:
    """Refuse, by name, samples that have no right reading here."""
    photometric, samples, bits, kind = page.photometric, page.samples, page.bits, page.value(FORMAT, UNSIGNED)
    planar, named = page.value(PLANAR, 1), FORMATS.get(kind, f"samples of format {kind}")
    extra = samples - COLORS.get(photometric, samples)
    is_grey = photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
    expected = reason = ""
    if photometric not in COLORS:
        expected, reason = "grey, RGB, a palette, CMYK or YCbCr", f"photometric interpretation {photometric}"
    elif (
        extra < 0
        or extra > 1
        or (extra and not is_grey and photometric != RGB)
        or (extra and is_grey and page.value(EXTRA, 0) not in ALPHA)
    ):
        expected, reason = "1 value a pixel, or RGB", f"{samples} channels"
    elif len({*page.values(BITS, 1)}) > 1 or len({*page.values(FORMAT, UNSIGNED)}) > 1:
        expected, reason = "samples of one kind", f"bits {page.values(BITS, 1)}, formats {page.values(FORMAT, 1)}"
    elif photometric == COLOR_MAP and (bits not in (4, 8) or kind != UNSIGNED):
        expected, reason = "a palette of 4 or 8 bits", f"{named} of {bits} bits"
    elif photometric != COLOR_MAP and bits not in FORMAT_BITS.get(kind, ()):
        expected, reason = "1, 8, 10, 12, 14, 16, 32 or 64 bits a sample", f"{named} of {bits} bits"
    elif samples > 1 and bits == 1:
        expected, reason = "8 bits a sample or more in colour", f"{named} of {bits} bits"
    elif photometric in (CMYK, YCBCR) and (bits, kind, planar) != (8, UNSIGNED, 1):
        expected, reason = "CMYK or YCbCr of 8 bits, side by side", f"{bits} bits, planar configuration {planar}"
    elif photometric == WHITE_IS_ZERO and kind == FLOAT:
        expected, reason = "whole numbers where zero is white", named
    elif planar not in (1, 2):
        expected, reason = "planar configuration 1 or 2", str(planar)
    elif samples == 2 and planar == 1:
        plain = page.value(PREDICTOR, 1) == page.value(ORIENTATION, 1) == 1
        if not plain or page.value(COMPRESSION, 1) in (OLD_JPEG, JPEG) or bits in PACKED_BITS:
            expected, reason = "grey with alpha in whole bytes, without predictor, JPEG and orientation", "another"
    if reason:
        raise ImageError(f"image: expected {expected}; {page.file} has {reason}")
    _check_stored(page)


def _check_stored(page: Page) -> None:
    """Refuse a page that lacks strips or tiles: OpenCV fills them with other bytes of the file."""
    tiled = TILE_WIDTH in page.entries
    height, width = page.value(HEIGHT), page.value(WIDTH)
    rows = page.value(TILE_HEIGHT) if tiled else min(page.value(ROWS, height), height)
    across = -(-width // page.value(TILE_WIDTH)) if tiled else 1
    expected = -(-height // rows) * across * (page.samples if page.value(PLANAR, 1) == 2 else 1)
    for tag in TILES if tiled else STRIPS:
        found = np.count_nonzero(page.array(tag)[:expected])
        if found < expected:
            raise ImageError(f"image: {page.file} is cut: expected {expected} strips or tiles, found {found}")


def _planes(page: Page) -> int:
    """How many planes the page says the file holds: programs write a stack as one page and a word about the rest."""
    planes = page.value(DEPTH, 1)
    if METAMORPH_PLANES in page.entries:
        planes = max(planes, page.header(METAMORPH_PLANES)[1])
    if DESCRIPTION not in page.entries:
        return planes
    _, count, place = page.header(DESCRIPTION)
    text = page.raw[place : place + min(count, DESCRIPTION_BYTES)].decode("latin-1").strip("\0 \r\n")
    if text.startswith("ImageJ="):
        counts = [int(found) for found in re.findall(r"^(?:images|slices|frames|channels)=(\d{1,9})\s*$", text, re.M)]
        return max(planes, *counts, 1)
    if pixels := re.search(r"<(?:\w+:)?Pixels\s[^>]*", text):
        sizes = [int(found) for found in re.findall(r"\bSize[ZCT]\s*=\s*[\"'](\d{1,9})[\"']", pixels[0])]
        return max(planes, math.prod(sizes) // page.samples)
    with suppress(ValueError, TypeError, AttributeError):  # as tifffile writes it
        shape = json.loads(text)["shape"] if text.startswith('{"shape"') else [1]
        return max(planes, math.prod(shape) // (page.value(HEIGHT) * page.value(WIDTH) * page.samples))
    return planes
