"""What a TIFF page says of itself: its entries, and whether it is the only one."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError

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
    SHORT: 2,
    LONG: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    LONG8: 8,
    17: 8,
    18: 8,
}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, COLOR_MAP, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # photometric interpretations
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
