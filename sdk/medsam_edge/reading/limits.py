"""What an image may be: its size, its memory and its kind, checked before memory is taken for it."""

from __future__ import annotations

import math
from pathlib import Path

from medsam_edge.errors import ImageError

MAXIMUM_PIXELS = 1 << 28
"""Pixels of an image or voxels of a volume: 16384 × 16384, or 512 × 512 × 1024."""

MAXIMUM_BYTES = 1 << 30
"""Bytes of the values in memory: 1024 slices of 512 × 512 with four bytes a voxel."""

MAXIMUM_RATIO = 2048
"""Unpacked bytes per byte of the file. Deflate reaches 1032, LZW and a blank JPEG about 1400."""


def check_size(source: Path | str, size: tuple[int, ...]) -> None:
    """Raise ImageError, which names the source, unless a size has pixels, and at most MAXIMUM_PIXELS."""
    if min(size, default=1) < 1:
        raise ImageError(f"image: {source} has size {size}: no pixels")
    if math.prod(size) > MAXIMUM_PIXELS:
        raise ImageError(f"image: {source} has size {size}, more than {MAXIMUM_PIXELS} pixels or voxels")


def check_claim(file: Path, size: tuple[int, ...], pixel_bytes: int, stored_bits: int | None = None) -> None:
    """`check_size`; and raise ImageError for more than MAXIMUM_BYTES, or more than a file of this length can hold.

    `pixel_bytes` are those of one pixel in memory, `stored_bits` those of one unpacked pixel in the file (None for as
    many as in memory), both over all channels.
    """
    check_size(file, size)
    claimed, held = math.prod(size) * pixel_bytes, file.stat().st_size
    stored = claimed if stored_bits is None else math.prod(size) * stored_bits // 8
    if claimed > MAXIMUM_BYTES:
        raise ImageError(f"image: {file} has size {size}: {claimed} bytes of values, more than {MAXIMUM_BYTES}")
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
