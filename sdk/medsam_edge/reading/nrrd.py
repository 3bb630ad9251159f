"""NRRD headers: https://teem.sourceforge.net/nrrd/format.html. ITK is not used: one long number crashes it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame
from medsam_edge.reading.layout import HEADER_BYTES, Layout, dtype_of, frame_of

_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8",
    "long long int": "i8", "signed long long": "i8", "signed long long int": "i8", "int64": "i8", "int64_t": "i8",
    "ulonglong": "u8", "unsigned long long": "u8", "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8",
    "float": "f4", "double": "f8",
}  # fmt: skip
_DOMAIN = ("domain", "space", "time", "none", "???")
_TO_LPS = {
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1), "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip


def nrrd_layout(file: Path) -> Layout:
    """Read an NRRD header.

    Raises:
        ImageError: the header is damaged, the values are in another file, their encoding is neither raw nor gzip, or
            their type is unknown.
    """
    fields, end = _fields(file)
    elsewhere = {"datafile", "lineskip", "byteskip", "axismins", "axismaxs"} & set(fields)
    if elsewhere:
        raise ImageError(f"image: {file} has the NRRD field {min(elsewhere)!r}, which is not read")
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ImageError(f"image: expected NRRD encoding raw or gzip, {file} has {encoding!r}")
    dtype = dtype_of(_TYPES, fields.get("type", "").lower(), fields.get("endian", "").lower() == "big", file)
    sizes = [int(side) for side in fields.get("sizes", "").split()]
    kinds = fields.get("kinds", "").lower().split() or ["domain"] * len(sizes)
    if not len(sizes) == len(kinds) == int(fields.get("dimension", "0")):
        raise ImageError(f"image: {file} has {fields.get('dimension')} dimensions, sizes {sizes} and kinds {kinds}")
    domain = [axis for axis, kind in enumerate(kinds) if kind in _DOMAIN]
    channels = [size for axis, size in enumerate(sizes) if axis not in domain]
    if len(channels) > 1:
        raise ImageError(f"image: expected at most one axis of channels, {file} has kinds {kinds}")
    return Layout(
        file,
        tuple(sizes[::-1]),
        dtype,
        size=tuple(sizes[axis] for axis in domain),
        channels=channels[0] if channels else 1,
        frame=_frame(fields, domain, file),
        start=end,
        packed=encoding != "raw",
    )


def _fields(file: Path) -> tuple[dict[str, str], int]:
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


def _frame(fields: dict[str, str], domain: list[int], file: Path) -> Frame:
    """Make the frame in LPS; an image without space directions has its origin at 0."""
    count = len(domain)
    if "spacedirections" not in fields:
        spacings = [float(value) for value in fields.get("spacings", "").split()]
        spacing = [spacings[axis] if spacings and not math.isnan(spacings[axis]) else 1.0 for axis in domain]
        return frame_of(spacing, [0.0] * count, np.eye(count), file)
    vectors = [_numbers(found[1] or "") for found in re.finditer(r"none|\(([^()]*)\)", fields["spacedirections"])]
    if any(len(vectors[axis]) != count for axis in domain):
        held = fields["spacedirections"]
        raise ImageError(f"image: expected {count} directions of {count} numbers for its axes, {file} has {held}")
    flips = np.array([*_TO_LPS.get(fields.get("space", "").lower(), ()), *[1] * count][:count])
    columns = np.array([vectors[axis] for axis in domain]).T * flips[:, None]
    with np.errstate(all="ignore"):  # `frame_of` refuses what is not finite
        spacing = np.linalg.norm(columns, axis=0)
        directions = columns / spacing
    origin = _numbers(fields.get("spaceorigin", "").strip("()")) or [0.0] * count
    return frame_of(spacing.tolist(), (flips * origin).tolist(), directions, file)


def _numbers(text: str) -> list[float]:
    return [float(value) for value in text.split(",") if value.strip()]
