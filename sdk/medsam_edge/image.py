"""What reading an image gives: its pixels and what its file knows about them; and what no file may ask for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from medsam_edge.errors import ImageError, MedsamEdgeError
from medsam_edge.modality import Modality

MAXIMUM_PIXELS = 1 << 28
"""Larger images and volumes are refused, files before their pixels are read: 16384 × 16384, or 512 × 512 × 1024."""

MAXIMUM_BYTES = 1 << 30
"""Of the values in memory: 1024 slices of 512 × 512 with four bytes a voxel."""

MAXIMUM_RATIO = 2048
"""Unpacked bytes for one in the file. Deflate gives at most 1032, LZW and a blank JPEG about 1400."""


@dataclass(frozen=True)
class Frame:
    """Where a medical image lies in the patient, in SimpleITK's order (x, y[, z]) and in mm.

    `dicom_files` are the absolute paths it was read from, in the order of its slices; none where they were no DICOM.
    """

    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    dicom_files: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image and what its file knows about it.

    Attributes:
        pixels: (H, W), (H, W, 3) RGB or (D, H, W), in the file's own values (CT in HU).
        frame: of a medical file, else None.
        modality: as a DICOM header says, else None.
        boxes: prompts that a challenge npz carries, else None: (N, 4) as they are, (N, 6) with z1 exclusive, where the
            file has the last slice. `compat="rep-medsam"` adds that slice itself: give it the file's own numbers.
        color: whether the file or SimpleITK says that the last axis is RGB; None of arrays and npz, where boxes decide.
    """

    pixels: npt.NDArray[Any]
    frame: Frame | None = None
    modality: Modality | None = None
    boxes: npt.NDArray[Any] | None = None
    color: bool | None = None


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
