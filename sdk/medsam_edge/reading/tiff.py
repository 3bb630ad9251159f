"""The page of a TIFF as OpenCV reads it right.

OpenCV reads plain pages: grey, RGB, a palette, CMYK or YCbCr, samples side by side. It misreads, without a word,
separate planes, two or four samples a pixel and WhiteIsZero. Such a page is decoded by a second header, which is added
to the file's bytes: it describes the same stored samples as plain pages. Whatever has no right reading is refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError, warn
from medsam_edge.reading.tiff_page import (
    BITS,
    BLACK_IS_ZERO,
    CMYK,
    COLOR_MAP,
    COMPRESSION,
    EXTRA,
    FORMAT,
    HEIGHT,
    KEPT,
    LONG,
    LONG8,
    ORIENTATION,
    PALETTE,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    RGB,
    ROWS,
    SAMPLES,
    SHORT,
    STRIPS,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILES,
    TYPES,
    WHITE_IS_ZERO,
    WIDTH,
    YCBCR,
    Page,
)

Pixels = npt.NDArray[Any]
Decode = Callable[[bytes, bool], Pixels]
"""Decodes a file's bytes to (H, W) or (H, W, 3) RGB, and, where its second argument is true, to (H, W, 4) RGBA."""

COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, COLOR_MAP: 1, CMYK: 4, YCBCR: 3}
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
FORMATS = {UNSIGNED: "whole numbers", SIGNED: "signed numbers", FLOAT: "floats"}
PACKED_BITS = (10, 12, 14)
FORMAT_BITS = {UNSIGNED: (1, 8, *PACKED_BITS, 16, 32, 64), SIGNED: (8, 16, 32, 64), FLOAT: (32, 64)}
ALPHA = (1, 2)  # colours multiplied by it, and not
OLD_JPEG, JPEG = 6, 7
DEFLATE = (8, 32946)
PLAIN = 1
COMPRESSIONS = (PLAIN, 2, 3, 4, 5, OLD_JPEG, JPEG, 32773, *DEFLATE)  # CCITT, LZW, PackBits
INKS, CMYK_INKS = 332, 1


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
    if page.value(COMPRESSION, PLAIN) not in COMPRESSIONS:
        expected, reason = "CCITT, LZW, JPEG, deflate, PackBits or none", f"compression {page.value(COMPRESSION)}"
    elif photometric not in COLORS:
        expected, reason = "grey, RGB, a palette, CMYK or YCbCr", f"photometric interpretation {photometric}"
    elif photometric == CMYK and page.value(INKS, CMYK_INKS) != CMYK_INKS:
        expected, reason = "inks CMYK", f"others (ink set {page.value(INKS)})"
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
    """Refuse a page that lacks strips or tiles, or whose ends are missing: OpenCV fills them with other bytes of the
    file, or with zeros."""
    tiled = TILE_WIDTH in page.entries
    height, width = page.value(HEIGHT), page.value(WIDTH)
    rows = page.value(TILE_HEIGHT) if tiled else min(page.value(ROWS, height), height)
    columns = page.value(TILE_WIDTH) if tiled else width
    separate = page.value(PLANAR, 1) == 2
    down, across = -(-height // rows), -(-width // columns)
    expected = down * across * (page.samples if separate else 1)
    offsets, lengths = (page.array(tag)[:expected].astype(np.uint64) for tag in (TILES if tiled else STRIPS))
    found = min(np.count_nonzero(offsets), np.count_nonzero(lengths))
    if found < expected:
        raise ImageError(f"image: {page.file} is cut: expected {expected} strips or tiles, found {found}")
    size = np.uint64(len(page.raw))
    row = -(-columns * page.bits * (1 if separate else page.samples) // 8)
    last = rows if tiled else height - (down - 1) * rows
    held = np.array([rows * row] * (down - 1) * across + [last * row] * across, np.uint64)
    held = np.tile(held, expected // (down * across))  # bytes that strips or tiles unpack to
    compression = page.value(COMPRESSION, PLAIN) if page.photometric != YCBCR else None
    plain = compression == PLAIN
    least = held if plain else np.zeros(expected, np.uint64)
    if ((offsets > size) | (lengths > size - np.minimum(offsets, size)) | (lengths < least)).any():
        raise ImageError(
            f"image: {page.file} is cut: a strip or tile is shorter than its header says, or beyond its end"
        )
    if plain and not tiled and (lengths > least)[:-1].any():  # libtiff takes all of them for wrong
        raise ImageError(f"image: {page.file} is damaged: it has strips that are longer than their rows")
    if compression in DEFLATE:  # libtiff leaves black what does not unpack
        for start, length, count in zip(offsets.tolist(), lengths.tolist(), held.tolist(), strict=True):
            _check_deflated(page, memoryview(page.raw)[start : start + length], count)


def _check_deflated(page: Page, packed: memoryview, count: int) -> None:
    """Refuse a strip or tile that does not unpack to `count` bytes; its checksum counts."""
    try:
        whole = len(zlib.decompressobj().decompress(packed, count + 1)) >= count  # one more: to the checksum
    except zlib.error:
        whole = False
    if not whole:
        raise ImageError(f"image: {page.file} is cut or damaged: a strip or tile does not unpack")
