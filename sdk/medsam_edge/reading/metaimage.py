"""MetaImage headers: https://itk.org/Wiki/ITK/MetaIO/Documentation. ITK is not used: `NDims = -1` crashes it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame
from medsam_edge.reading.layout import HEADER_BYTES, Layout, dtype_of, frame_of

_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG_LONG": "i8",
    "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip


def meta_layout(file: Path) -> Layout:
    """Read a MetaImage header.

    Raises:
        ImageError: the header is damaged, or the values are text, in several files, in another folder, or of an
            unknown type.
    """
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
        dtype_of(_TYPES, fields.get("ElementType", "").removeprefix("MET_"), big, file),
        size,
        channels,
        frame=_frame(fields, len(size), file),
        start=last.end() if local else 0,
        packed=fields.get("CompressedData", "").lower() == "true",
    )


def _frame(fields: dict[str, str], count: int, file: Path) -> Frame:
    """Of several names for a field the first counts. MetaImage stores axes as rows; a `Frame` has them as columns."""

    def numbers(*names: str) -> list[float]:
        text = next((fields[name] for name in names if name in fields), "")
        return [float(value) for value in text.split()]

    spacing = numbers("ElementSpacing", "ElementSize") or [1.0] * count
    origin = numbers("Offset", "Position", "Origin") or [0.0] * count
    rows = numbers("TransformMatrix", "Rotation", "Orientation") or np.eye(count).ravel().tolist()
    return frame_of(spacing, origin, np.reshape(rows, (count, count)).T, file)


def _beside(header: Path, name: str) -> Path:
    """Find the file of values that a header names; it must lie in the header's folder, with links resolved."""
    file = (header.parent / name).resolve()
    if name.upper().startswith("LIST") or "%" in name or not file.is_relative_to(header.parent.resolve()):
        raise ImageError(f"image: expected one file of values in the folder of {header}, it names {name}")
    if not file.is_file():
        raise ImageError(f"image: {header} names a missing file of values: {name}")
    return file
