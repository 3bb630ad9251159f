"""What an image may be: its size, its memory and its kind, checked before memory is taken for it."""

from __future__ import annotations

import math
import os
from pathlib import Path

from medsam_edge.errors import ImageError, InputError

MAXIMUM_BYTES = 1 << 31
"""Bytes of an image's values in memory, where nothing else is said: a whole-body CT of 512 × 512 × 1200 with two bytes
a voxel has 0.6 × 10^9, and 1.9 × 10^9 while it is rescaled to float32."""

MAXIMUM_BYTES_VARIABLE = "MEDSAM_EDGE_MAXIMUM_BYTES"
"""Environment variable with another number of bytes."""

MAXIMUM_RATIO = 2048
"""Unpacked bytes per byte of the file. Deflate reaches 1032, LZW and a blank JPEG about 1400."""


def maximum_bytes() -> int:
    """MAXIMUM_BYTES, or what the environment says. InputError where that is no positive whole number."""
    text = os.environ.get(MAXIMUM_BYTES_VARIABLE, "")
    if not text:
        return MAXIMUM_BYTES
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) > 0):
        raise InputError(f"{MAXIMUM_BYTES_VARIABLE}: expected a positive number of bytes, got {text!r}")
    return int(text)


def check_size(source: Path | str, size: tuple[int, ...], pixel_bytes: int = 1) -> None:
    """Raise ImageError, which names the source, unless a size has pixels, and values of at most `maximum_bytes`.

    `pixel_bytes` are those of one pixel in memory, over all channels: one for an array that is there already, whose
    display will take as much.
    """
    if min(size, default=1) < 1:
        raise ImageError(f"image: {source} has size {size}: no pixels")
    claimed, maximum = math.prod(size) * pixel_bytes, maximum_bytes()
    if claimed > maximum:
        raise ImageError(
            f"image: {source} has size {size}: {claimed} bytes of values, more than {maximum}; "
            f"{MAXIMUM_BYTES_VARIABLE} sets another limit"
        )


def check_claim(file: Path, size: tuple[int, ...], pixel_bytes: int, stored_bits: int | None = None) -> None:
    """`check_size`; and raise ImageError for more than a file of this length can hold.

    `pixel_bytes` are those of one pixel in memory, `stored_bits` those of one unpacked pixel in the file (None for as
    many as in memory), both over all channels.
    """
    check_size(file, size, pixel_bytes)
    claimed, held = math.prod(size) * pixel_bytes, file.stat().st_size
    stored = claimed if stored_bits is None else math.prod(size) * stored_bits // 8
    if stored > MAXIMUM_RATIO * held:
        raise ImageError(f"image: {file} has size {size}: {stored} bytes cannot come out of its {held}")


def check_kind(source: str, size: tuple[int, ...], channels: int) -> None:
    """Raise ImageError unless the size (x, y[, z]) and channels are those of a grey or RGB slice, or a grey volume."""
    if len(size) not in (2, 3):
        raise ImageError(f"image: expected two or three dimensions, {source} has size {size}")
    if channels not in (1, 3):
        raise ImageError(f"image: expected 1 or 3 values a pixel, {source} has {channels}")
    if channels == 3 and len(size) == 3 and size[2] != 1:
        raise ImageError(f"image: expected 1 value a voxel, {source} has 3 and size {size} (x, y, z)")
