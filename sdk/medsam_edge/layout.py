"""Where a NIfTI, NRRD or MetaImage file keeps its values, and as what: the few header fields that say so."""

from __future__ import annotations

import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import MAXIMUM_RATIO, check_size
from medsam_edge.values import fill, inflated

HEADER_BYTES = 1 << 16
"""Longer headers of text are refused."""

_NIFTI_BYTES = 348
_NIFTI_RGB = 128
_NIFTI_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 128: "u1", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_META_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG_LONG": "i8",
    "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
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


@dataclass(frozen=True)
class Layout:
    """Values in a file.

    Attributes:
        file: that holds them.
        shape: slowest side first, as in numpy.
        dtype: with its byte order.
        start: of the values, or of their packed stream, in bytes.
        packed: whether gzip or zlib packs them.
        skip: bytes before the values in what the packed stream holds.
        slope, intercept: real value = slope × stored value + intercept.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    packed: bool = False
    skip: int = 0
    slope: float = 1.0
    intercept: float = 0.0

    def check(self) -> None:
        """Raises ImageError where `check_size` does, and when the file is shorter than its values."""
        check_size(self.file, self.shape[::-1], self.dtype.itemsize)
        expected, held = self.start + math.prod(self.shape) * self.dtype.itemsize, self.file.stat().st_size
        if not self.packed and held < expected:
            raise ImageError(f"image: {self.file} is cut: expected {expected} bytes, found {held}")

    def read(self) -> npt.NDArray[Any]:
        """The values in the machine's byte order; float32 or float64 where they are scaled, as ITK gives them."""
        if self.packed:
            values = np.empty(self.shape, self.dtype)
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                fill(values, inflated(stream, str(self.file)), str(self.file), self.skip)
        else:
            count = math.prod(self.shape)
            values = np.fromfile(self.file, self.dtype, count, offset=self.start).reshape(self.shape)
        if not values.dtype.isnative:
            values = values.byteswap(inplace=True).view(values.dtype.newbyteorder())
        return values if (self.slope, self.intercept) == (1.0, 0.0) else self._scaled(values)

    def _scaled(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        scaled = np.empty(self.shape, np.float64 if values.dtype == np.float64 else np.float32)
        for stored, real in zip(values, scaled, strict=True):  # slice by slice, because the sum is made in float64
            real[...] = stored * self.slope + self.intercept
        return scaled


def layout_of(file: Path) -> Layout:
    """By suffix: NIfTI-1 in one file, NRRD in one file, MetaImage in one file or with its values beside it.

    Raises:
        ImageError: damaged, of another kind, or a variant that is not read; the message says which.
    """
    name = file.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _nifti(file)
    return _nrrd(file) if name.endswith(".nrrd") else _meta(file)


def _nifti(file: Path) -> Layout:
    """https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h"""
    with file.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    packed = head.startswith(b"\x1f\x8b")
    if packed != file.name.lower().endswith(".gz"):
        raise ImageError(f"image: {file} is {'' if packed else 'not '}packed by gzip, unlike its name")
    if packed:
        head = zlib.decompressobj(47).decompress(head, _NIFTI_BYTES)
    order = next((order for order in "<>" if head[:4] == struct.pack(order + "i", _NIFTI_BYTES)), None)
    if order is None or head[344:348] != b"n+1\0":
        raise ImageError(f"image: expected NIfTI-1 with its values in the same file, {file} is not")
    dimensions, *sides = struct.unpack_from(order + "8h", head, 40)
    (kind,) = struct.unpack_from(order + "h", head, 70)
    offset, slope, intercept = struct.unpack_from(order + "3f", head, 108)
    if not 1 <= dimensions <= 7:
        raise ImageError(f"image: expected 1 to 7 dimensions, {file} has {dimensions}")
    if kind not in _NIFTI_TYPES:
        raise ImageError(f"image: {file} has values of NIfTI type {kind}, which is not read (complex, long double, …)")
    if not 0 <= offset <= MAXIMUM_RATIO * file.stat().st_size:
        raise ImageError(f"image: {file} says that its values start at byte {offset}")
    start = max(int(offset), _NIFTI_BYTES)
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope):
        slope, intercept = 1.0, 0.0  # not set
    if kind == _NIFTI_RGB:
        sides, dimensions = [3, *sides], dimensions + 1
    shape = tuple(sides[:dimensions][::-1])
    dtype = np.dtype(order + _NIFTI_TYPES[kind])
    place = (0, True, start) if packed else (start, False, 0)
    return Layout(file, shape, dtype, *place, slope, intercept)


def _nrrd(file: Path) -> Layout:
    """https://teem.sourceforge.net/nrrd/format.html"""
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
    if not {"datafile", "lineskip", "byteskip"}.isdisjoint(fields):
        raise ImageError(f"image: expected NRRD values right behind their header, {file} has them elsewhere")
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ImageError(f"image: expected NRRD encoding raw or gzip, {file} has {encoding!r}")
    dtype = _dtype(_NRRD_TYPES, fields.get("type", "").lower(), fields.get("endian", "").lower() == "big", file)
    shape = tuple(int(side) for side in fields.get("sizes", "").split())[::-1]
    return Layout(file, shape, dtype, end.end(), encoding != "raw")


def _meta(file: Path) -> Layout:
    """https://itk.org/Wiki/ITK/MetaIO/Documentation"""
    with file.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    last = re.search(rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*)(\r?\n|$)", head, re.MULTILINE)
    if last is None:
        raise ImageError(f"image: {file} has no MetaImage header, or one of more than {HEADER_BYTES} bytes")
    pairs = (re.split("[=:]", line, maxsplit=1) for line in head[: last.start()].decode("latin-1").splitlines())
    fields = {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}
    if fields.get("BinaryData", "True").lower() != "true" or fields.get("HeaderSize", "0") != "0":
        raise ImageError(f"image: expected MetaImage values in binary and without a header, {file} has others")
    big = any(fields.get(name, "").lower() == "true" for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    dtype = _dtype(_META_TYPES, fields.get("ElementType", "").removeprefix("MET_"), big, file)
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    sides = [channels] * (channels != 1) + [int(side) for side in fields.get("DimSize", "").split()]
    packed = fields.get("CompressedData", "").lower() == "true"
    name = last[1].decode(errors="surrogateescape").strip()
    if name.lower() == "local":
        return Layout(file, tuple(sides[::-1]), dtype, last.end(), packed)
    return Layout(_beside(file, name), tuple(sides[::-1]), dtype, 0, packed)


def _beside(header: Path, name: str) -> Path:
    """The file of values that a header names; it must lie in the header's folder, wherever links lead."""
    file = (header.parent / name).resolve()
    if name.upper().startswith("LIST") or "%" in name or not file.is_relative_to(header.parent.resolve()):
        raise ImageError(f"image: expected one file of values in the folder of {header}, it names {name}")
    if not file.is_file():
        raise ImageError(f"image: {header} names a file of values that is not there: {name}")
    return file


def _dtype(types: dict[str, str], name: str, big: bool, file: Path) -> np.dtype[Any]:
    if name not in types:
        raise ImageError(f"image: {file} has values of type {name!r}, which is not read")
    return np.dtype((">" if big else "<") + types[name])
