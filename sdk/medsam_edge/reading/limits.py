"""What no file may ask for, and one error for whatever a library raises."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsam_edge.errors import ImageError, MedsamEdgeError

MAXIMUM_PIXELS = 1 << 28
"""Larger images and volumes are refused, files before their pixels are read: 16384 × 16384, or 512 × 512 × 1024."""


MAXIMUM_BYTES = 1 << 30
"""Of the values in memory: 1024 slices of 512 × 512 with four bytes a voxel."""


MAXIMUM_RATIO = 2048
"""Unpacked bytes for one in the file. Deflate gives at most 1032, LZW and a blank JPEG about 1400."""


def itk_path(file: Path) -> str:
    """For SimpleITK, which ends the process at a name that is no UTF-8.

    Raises:
        ImageError: it is one.
    """
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        raise ImageError(f"path: expected UTF-8, which is all that ITK opens, got {str(file)!a}") from error
    return str(file)


def check_size(source: Path | str, size: tuple[int, ...]) -> None:
    """Raises ImageError when there are no pixels, or more than are taken; of a file, as its header says."""
    if min(size, default=1) < 1:
        raise ImageError(f"image: {source} has size {size}: no pixels")
    if math.prod(size) > MAXIMUM_PIXELS:
        raise ImageError(f"image: {source} has size {size}, more than {MAXIMUM_PIXELS} pixels or voxels")


def check_claim(file: Path, size: tuple[int, ...], pixel_bytes: int, stored_bits: int | None = None) -> None:
    """`check_size`, and the same for bytes; before memory is taken for them.

    Args:
        file: that holds the values.
        size: pixels along each side.
        pixel_bytes: of one pixel in memory, all its channels together.
        stored_bits: of one pixel in the file, once unpacked; None for as many as in memory.

    Raises:
        ImageError: also when there are more bytes than are read, or than a file of this length could hold.
    """
    check_size(file, size)
    claimed, held = math.prod(size) * pixel_bytes, file.stat().st_size
    stored = claimed if stored_bits is None else math.prod(size) * stored_bits // 8
    if claimed > MAXIMUM_BYTES:
        raise ImageError(f"image: {file} has size {size}: {claimed} bytes of values, more than {MAXIMUM_BYTES}")
    if stored > MAXIMUM_RATIO * held:
        raise ImageError(f"image: {file} has size {size}: {stored} bytes cannot come out of its {held}")


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Whatever a damaged file makes a library raise becomes an ImageError."""
    try:
        yield
    except MedsamEdgeError:
        raise
    except Exception as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: Exception) -> ImageError:
    """The error for a file that a library refused: the library's own reason, without its traces."""
    if isinstance(error, ImageError):
        return error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ImageError(f"image: cannot read {file}: {lines[-1] if lines else type(error).__name__}")
