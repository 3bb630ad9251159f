"""The data elements of a DICOM file, gone through before GDCM sees them.

GDCM takes as much memory as a length in the file asks for. Here every length must fit into what holds it. Encodings and
data elements: DICOM PS3.5, chapter 7; sequences and encapsulated pixels: 7.5 and A.4.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from pathlib import Path

from medsam_edge.errors import ImageError
from medsam_edge.reading.limits import MAXIMUM_BYTES, MAXIMUM_RATIO

DEFLATED, BIG_ENDIAN, IMPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
SYNTAX, PIXELS = (0x0002, 0x0010), (0x7FE0, 0x0010)
DEPTH = 16
"""Sequences in sequences; more are refused."""


def check_elements(file: Path) -> None:
    """Raises ImageError when an element is longer than what holds it, or not encoded as the file says."""
    if file.stat().st_size < 8:
        raise ImageError(f"image: cannot read {file}: it is too short for a DICOM file")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        _check(data, file)


def _check(data: mmap.mmap | bytes, file: Path) -> None:
    start = 132 if data[128:132] == b"DICM" else 0
    if not start and data[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        raise ImageError(f"image: cannot read {file}: it is no DICOM file")
    syntax = ""
    walk = _Walk(data, file, explicit=True, order="<")
    while start < len(data) and data[start : start + 2] == b"\x02\x00":
        tag, length, value = walk.element(start, len(data))
        start = value + length
        if tag == SYNTAX:
            syntax = data[value:start].strip(b"\0 ").decode("latin-1")
    if syntax == DEFLATED:
        data = _inflated(data[start:], file)
        start = 0
    if not syntax:  # no meta information: GDCM guesses, too
        walk.order = ">" if data[start : start + 1] == b"\0" else "<"
        walk.explicit = data[start + 4 : start + 6] in LONG | SHORT
    else:
        walk.order = ">" if syntax == BIG_ENDIAN else "<"
        walk.explicit = syntax != IMPLICIT
    walk.data = data
    walk.dataset(start, len(data), 0)


def _inflated(packed: bytes, file: Path) -> bytes:
    limit = min(MAXIMUM_BYTES, MAXIMUM_RATIO * len(packed))
    try:
        whole = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit + 1)
    except zlib.error as error:
        raise ImageError(f"image: cannot read {file}: it is damaged, {error}") from error
    if len(whole) > limit:
        raise ImageError(f"image: cannot read {file}: it unpacks to more than {limit} bytes")
    return whole


class _Walk:
    def __init__(self, data: mmap.mmap | bytes, file: Path, explicit: bool, order: str) -> None:
        self.data, self.file, self.explicit, self.order = data, file, explicit, order

    def dataset(self, at: int, end: int, depth: int) -> int:
        """Through elements from `at` to `end`, or to the mark that ends an item; gives where they end."""
        while at < end:
            tag, length, value = self.element(at, end)
            if tag == ITEM_END:
                return value
            if length == UNDEFINED or self._is_sequence(at, tag, value):
                outside = self.explicit
                self.explicit = outside and self.data[at + 4 : at + 6] != b"UN"  # of which the inside is implicit
                at = self._sequence(value, end if length == UNDEFINED else value + length, depth, tag == PIXELS)
                self.explicit = outside
            else:
                at = value + length
        return at

    def element(self, at: int, end: int) -> tuple[tuple[int, int], int, int]:
        """Tag, length and where the value begins; the value ends before `end`, or its length is undefined."""
        if at + 8 > end:
            raise self._wrong(f"ends within a data element, at byte {at}")
        tag = struct.unpack_from(f"{self.order}HH", self.data, at)
        value, size = at + 8, "I"
        kind = self.data[at + 4 : at + 6]
        if self.explicit and tag[0] != ITEM[0]:
            if kind in LONG:
                value += 4
            elif kind in SHORT:
                size = "H"
            else:
                raise self._wrong(f"has no known type at byte {at}, or is not encoded as it says")
        place = value - struct.calcsize(size)
        if value > end:
            raise self._wrong(f"ends within a data element, at byte {at}")
        (length,) = struct.unpack_from(f"{self.order}{size}", self.data, place)
        if length != UNDEFINED and value + length > end:
            name = f"({tag[0]:04x},{tag[1]:04x})"
            raise self._wrong(f"is cut or damaged: {name} is to have {length} bytes, {end - value} are left")
        return (tag[0], tag[1]), length, value

    def _is_sequence(self, at: int, tag: tuple[int, int], value: int) -> bool:
        if self.explicit:
            return self.data[at + 4 : at + 6] == b"SQ"
        return tag != PIXELS and self.data[value : value + 4] == struct.pack(f"{self.order}HH", *ITEM)

    def _sequence(self, at: int, end: int, depth: int, pixels: bool) -> int:
        """Through items, which hold elements, or bytes where they are pixels."""
        if depth == DEPTH:
            raise self._wrong(f"has more than {DEPTH} sequences in one another")
        while at < end:
            tag, length, value = self.element(at, end)
            if tag == SEQUENCE_END:
                return value
            if tag != ITEM:
                raise self._wrong(f"has a sequence with no item at byte {at}")
            if pixels:
                if length == UNDEFINED:
                    raise self._wrong(f"has pixels of undefined length at byte {at}")
                at = value + length
            else:
                at = self.dataset(value, end if length == UNDEFINED else value + length, depth + 1)
        return at

    def _wrong(self, what: str) -> ImageError:
        return ImageError(f"image: cannot read {self.file}: it {what}")
