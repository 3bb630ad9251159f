"""NIfTI-1 headers: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h. ITK is asked for size and frame only."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame
from medsam_edge.reading.itk import itk_path
from medsam_edge.reading.layout import HEADER_BYTES, Layout, frame_of
from medsam_edge.reading.limits import MAXIMUM_RATIO
from medsam_edge.reading.unreadable import unreadable

_HEADER_BYTES = 348
_RGB = 128
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "u1", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip


def nifti_layout(file: Path) -> Layout:
    """Read a NIfTI-1 header.

    Raises:
        ImageError: the file is not NIfTI-1 with header and values in one, or its type is not read (complex, long
            double).
    """
    suffix = file.name[file.name.lower().rfind(".nii") :]
    if suffix not in (suffix.lower(), suffix.upper()):
        raise ImageError(f"image: expected {suffix.lower()}, got {file.name}: ITK refuses mixed case")
    with file.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    packed = head.startswith(b"\x1f\x8b")
    if packed != file.name.lower().endswith(".gz"):
        raise ImageError(f"image: {file} is {'' if packed else 'not '}packed by gzip, unlike its name")
    if packed:
        head = zlib.decompressobj(47).decompress(head, _HEADER_BYTES)
    order = next((order for order in "<>" if head[:4] == struct.pack(order + "i", _HEADER_BYTES)), None)
    if order is None or head[344:348] != b"n+1\0":
        raise ImageError(f"image: expected NIfTI-1 with its values in the same file, got {file}")
    dimensions, *sides = struct.unpack_from(order + "8h", head, 40)
    (kind,) = struct.unpack_from(order + "h", head, 70)
    offset, slope, intercept = struct.unpack_from(order + "3f", head, 108)
    if not 1 <= dimensions <= 7:
        raise ImageError(f"image: expected 1 to 7 dimensions, {file} has {dimensions}")
    if kind not in _TYPES:
        raise ImageError(f"image: {file} has values of NIfTI type {kind}, which is not read (complex, long double, …)")
    if not 0 <= offset <= file.stat().st_size * (MAXIMUM_RATIO if packed else 1):
        raise ImageError(f"image: {file} says that its values start at byte {offset}")
    start = max(int(offset), _HEADER_BYTES)
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope):
        slope, intercept = 1.0, 0.0  # unset
    if kind == _RGB:
        sides, dimensions = [3, *sides], dimensions + 1
    shape, dtype = tuple(sides[:dimensions][::-1]), np.dtype(order + _TYPES[kind])
    size, channels, frame = _ask_itk(file)
    if packed:
        return Layout(file, shape, dtype, size, channels, frame, 0, True, start, slope, intercept)
    return Layout(file, shape, dtype, size, channels, frame, start, False, 0, slope, intercept)


def _ask_itk(file: Path) -> tuple[tuple[int, ...], int, Frame]:
    """Size, channels and frame by ITK, which knows how to choose between the header's two rival geometries."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_path(file))
    reader.SetImageIO("NiftiImageIO")  # else the content would choose one of twenty formats
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(file, error) from error
    size = reader.GetSize()
    direction = np.reshape(reader.GetDirection(), (len(size),) * 2)
    return size, reader.GetNumberOfComponents(), frame_of(reader.GetSpacing(), reader.GetOrigin(), direction, file)
