"""Headers of NIfTI, NRRD and MetaImage files; ImageError for what is damaged, or stored in a way that is not read."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame
from medsam_edge.reading.itk import itk_path
from medsam_edge.reading.layout import Layout
from medsam_edge.reading.limits import MAXIMUM_RATIO
from medsam_edge.reading.unreadable import unreadable

HEADER_BYTES = 1 << 16  # longer text headers are refused
_NIFTI_BYTES = 348
NIFTI_FORMS = ((76, "4f"), (123, "B"), (252, "2h18f"))
"""Where a NIfTI header says how voxels lie, and as what: pixdim 0–3; units; the codes of qform and sform, quaternion b,
c, d and offset x, y, z, and the three rows of the sform."""
_NIFTI_RGB = 128
_NIFTI_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "u1", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_NRRD_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8",
    "long long int": "i8", "signed long long": "i8", "signed long long int": "i8", "int64": "i8", "int64_t": "i8",
    "ulonglong": "u8", "unsigned long long": "u8", "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8",
    "float": "f4", "double": "f8",
}  # fmt: skip
_NRRD_DOMAIN = ("domain", "space", "time", "none", "???")
_NRRD_TO_LPS = {
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
_META_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG_LONG": "i8",
    "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip


def nifti_layout(file: Path) -> Layout:
    """Read a NIfTI-1 header: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h.

    ITK gives size, channels and frame; it knows how to choose between the header's two rival geometries. It takes no
    axes that are not at right angles: those are read here.
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
        head = zlib.decompressobj(47).decompress(head, _NIFTI_BYTES)
    order = next((order for order in "<>" if head[:4] == struct.pack(order + "i", _NIFTI_BYTES)), None)
    if order is None or head[344:348] != b"n+1\0":
        raise ImageError(f"image: expected NIfTI-1 with its values in the same file, got {file}")
    dimensions, *sides = struct.unpack_from(order + "8h", head, 40)
    (kind,) = struct.unpack_from(order + "h", head, 70)
    offset, slope, intercept = struct.unpack_from(order + "3f", head, 108)
    if not 1 <= dimensions <= 7:
        raise ImageError(f"image: expected 1 to 7 dimensions, {file} has {dimensions}")
    if kind not in _NIFTI_TYPES:
        raise ImageError(f"image: {file} has values of NIfTI type {kind}, which is not read (complex, long double, …)")
    if not 0 <= offset <= file.stat().st_size * (MAXIMUM_RATIO if packed else 1):
        raise ImageError(f"image: {file} says that its values start at byte {offset}")
    start = max(int(offset), _NIFTI_BYTES)
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope):
        slope, intercept = 1.0, 0.0  # unset
    if kind == _NIFTI_RGB:
        sides, dimensions = [3, *sides], dimensions + 1
    shape, dtype = tuple(sides[:dimensions][::-1]), np.dtype(order + _NIFTI_TYPES[kind])
    forms = [number for at, form in NIFTI_FORMS for number in struct.unpack_from(order + form, head, at)]
    try:
        size, channels, frame = _by_itk(file)
    except RuntimeError as error:
        if "orthonormal" not in str(error) or any(side != 1 for side in sides[3:dimensions]) or kind == _NIFTI_RGB:
            raise unreadable(file, error) from error
        size, channels, frame = tuple(sides[:3]), 1, _sform(forms, file)
    if np.isfinite(forms).all():
        frame = replace(frame, nifti=tuple(forms))
    first, skip = (0, start) if packed else (start, 0)
    return Layout(file, shape, dtype, size, channels, frame, first, packed, skip, slope, intercept)


def _by_itk(file: Path) -> tuple[tuple[int, ...], int, Frame]:
    """A NIfTI file's size, channels and frame."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_path(file))
    reader.SetImageIO("NiftiImageIO")  # else the content would choose one of twenty formats
    reader.ReadImageInformation()
    size, spacing = reader.GetSize(), reader.GetSpacing()
    frame = _frame_of(spacing, reader.GetOrigin(), np.reshape(reader.GetDirection(), (len(size),) * 2), file)
    return size, reader.GetNumberOfComponents(), frame


def _sform(forms: list[float], file: Path) -> Frame:
    """The frame of an sform without right angles, which ITK refuses. NIfTI's x and y run the other way."""
    rows = np.reshape(forms[-12:], (3, 4)) * [[-1], [-1], [1]]
    with np.errstate(all="ignore"):  # `_frame_of` refuses what is not finite
        spacing = np.linalg.norm(rows[:, :3], axis=0)
        return _frame_of(spacing.tolist(), rows[:, 3].tolist(), rows[:, :3] / spacing, file)


def nrrd_layout(file: Path) -> Layout:
    """Read an NRRD header: https://teem.sourceforge.net/nrrd/format.html. One long number crashes ITK."""
    fields, end = _nrrd_fields(file)
    if elsewhere := {"datafile", "lineskip", "byteskip", "axismins", "axismaxs"} & set(fields):
        raise ImageError(f"image: {file} has the NRRD field {min(elsewhere)!r}, which is not read")
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ImageError(f"image: expected NRRD encoding raw or gzip, {file} has {encoding!r}")
    dtype = _dtype_of(_NRRD_TYPES, fields.get("type", "").lower(), fields.get("endian", "").lower() == "big", file)
    sizes = [int(side) for side in fields.get("sizes", "").split()]
    kinds = fields.get("kinds", "").lower().split() or ["domain"] * len(sizes)
    if not len(sizes) == len(kinds) == int(fields.get("dimension", "0")):
        raise ImageError(f"image: {file} has {fields.get('dimension')} dimensions, sizes {sizes} and kinds {kinds}")
    domain = [axis for axis, kind in enumerate(kinds) if kind in _NRRD_DOMAIN]
    channels = [size for axis, size in enumerate(sizes) if axis not in domain]
    if len(channels) > 1:
        raise ImageError(f"image: expected at most one axis of channels, {file} has kinds {kinds}")
    return Layout(
        file,
        tuple(sizes[::-1]),
        dtype,
        size=tuple(sizes[axis] for axis in domain),
        channels=channels[0] if channels else 1,
        frame=_nrrd_frame(fields, domain, file),
        start=end,
        packed=encoding != "raw",
    )


def _nrrd_fields(file: Path) -> tuple[dict[str, str], int]:
    """Parse the fields, by name in lower case without spaces, and the byte where the values start."""
    with file.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", head)
    if not head.startswith(b"NRRD") or end is None:
        raise ImageError(f"image: {file} has no NRRD header, or one of more than {HEADER_BYTES} bytes")
    fields: dict[str, str] = {}
    for line in re.split(r"[\r\n]+", head[: end.start()].decode("latin-1"))[1:]:
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            fields[name.strip().lower().replace(" ", "")] = value.strip()
    return fields, end.end()


def _nrrd_frame(fields: dict[str, str], domain: list[int], file: Path) -> Frame:
    """Make the frame in LPS; an image without space directions has its origin at 0."""
    count = len(domain)
    if "spacedirections" not in fields:
        spacings = [float(value) for value in fields.get("spacings", "").split()]
        spacing = [spacings[axis] if spacings and not math.isnan(spacings[axis]) else 1.0 for axis in domain]
        return _frame_of(spacing, [0.0] * count, np.eye(count), file)
    vectors = [_numbers(found[1] or "") for found in re.finditer(r"none|\(([^()]*)\)", fields["spacedirections"])]
    if any(len(vectors[axis]) != count for axis in domain):
        held = fields["spacedirections"]
        raise ImageError(f"image: expected {count} directions of {count} numbers for its axes, {file} has {held}")
    flips = np.array([*_NRRD_TO_LPS.get(fields.get("space", "").lower(), ()), *[1] * count][:count])
    columns = np.array([vectors[axis] for axis in domain]).T * flips[:, None]
    with np.errstate(all="ignore"):  # `_frame_of` refuses what is not finite
        spacing = np.linalg.norm(columns, axis=0)
        directions = columns / spacing
    origin = _numbers(fields.get("spaceorigin", "").strip("()")) or [0.0] * count
    return _frame_of(spacing.tolist(), (flips * origin).tolist(), directions, file)


def _numbers(text: str) -> list[float]:
    return [float(value) for value in text.split(",") if value.strip()]


def meta_layout(file: Path) -> Layout:
    """Read a MetaImage header: https://itk.org/Wiki/ITK/MetaIO/Documentation. `NDims = -1` crashes ITK."""
    with file.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    last = re.search(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*)(\r?\n|$)", head, re.MULTILINE)
    if last is None:
        raise ImageError(f"image: {file} has no MetaImage header, or one of more than {HEADER_BYTES} bytes")
    pairs = (re.split("[=:]", line, maxsplit=1) for line in head[: last.start()].decode("latin-1").splitlines())
    fields = {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}
    if fields.get("BinaryData", "True").lower() != "true" or fields.get("HeaderSize", "0") != "0":
        raise ImageError(f"image: expected MetaImage values in binary and without a header of their own, got {file}")
    big = any(fields.get(name, "").lower() == "true" for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    size = tuple(int(side) for side in fields.get("DimSize", "").split())
    if len(size) != int(fields.get("NDims", "0")):
        raise ImageError(f"image: {file} has {fields.get('NDims')} dimensions and size {size}")
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    name = last[1].decode(errors="surrogateescape").strip()
    local = name.lower() == "local"
    return Layout(
        file if local else _beside(file, name),
        size[::-1] + (channels,) * (channels != 1),
        _dtype_of(_META_TYPES, fields.get("ElementType", "").removeprefix("MET_"), big, file),
        size,
        channels,
        frame=_meta_frame(fields, len(size), file),
        start=last.end() if local else 0,
        packed=fields.get("CompressedData", "").lower() == "true",
    )


def _meta_frame(fields: dict[str, str], count: int, file: Path) -> Frame:
    """Of several names for a field the first counts. MetaImage stores axes as rows; a `Frame` has them as columns."""

    def numbers(*names: str) -> list[float]:
        text = next((fields[name] for name in names if name in fields), "")
        return [float(value) for value in text.split()]

    spacing = numbers("ElementSpacing", "ElementSize") or [1.0] * count
    origin = numbers("Offset", "Position", "Origin") or [0.0] * count
    rows = numbers("TransformMatrix", "Rotation", "Orientation") or np.eye(count).ravel().tolist()
    return _frame_of(spacing, origin, np.reshape(rows, (count, count)).T, file)


def _beside(header: Path, name: str) -> Path:
    """Find the file of values that a header names; it must lie in the header's folder, with links resolved."""
    file = (header.parent / name).resolve()
    if name.upper().startswith("LIST") or "%" in name or not file.is_relative_to(header.parent.resolve()):
        raise ImageError(f"image: expected one file of values in the folder of {header}, it names {name}")
    if not file.is_file():
        raise ImageError(f"image: {header} names a missing file of values: {name}")
    return file


def _dtype_of(types: dict[str, str], name: str, big: bool, file: Path) -> np.dtype[Any]:
    """Look up the dtype of a header's type name, big- or little-endian; ImageError for an unknown name."""
    if name not in types:
        raise ImageError(f"image: {file} has values of type {name!r}, which is not read")
    return np.dtype((">" if big else "<") + types[name])


def _frame_of(spacing: Iterable[float], origin: Iterable[float], direction: npt.ArrayLike, file: Path) -> Frame:
    """Make a frame from a header's numbers, `direction` (n, n) an axis per column; ImageError if they are none."""
    spacing, origin, matrix = tuple(spacing), tuple(origin), np.asarray(direction, np.float64)
    finite = np.isfinite([*spacing, *origin, *matrix.ravel()]).all()
    fits = matrix.shape == (len(spacing),) * 2 and len(origin) == len(spacing)
    with np.errstate(all="ignore"):
        solid = finite and fits and 1e-6 < abs(np.linalg.det(matrix)) < math.inf
    if not (solid and min(spacing, default=0) > 0):
        raise ImageError(
            f"image: {file} has an invalid geometry: spacing {spacing}, origin {origin}, direction {matrix.tolist()}"
        )
    return Frame(spacing, origin, tuple(matrix.ravel().tolist()))
