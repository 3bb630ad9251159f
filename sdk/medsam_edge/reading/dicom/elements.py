"""The elements of a DICOM header by pydicom, once every length in the file is known to fit (PS3.5, 7, 7.5 and A.4).

GDCM takes as much memory as a length asks for. pydicom cannot check that: it looks into no private sequence, and of
elements with one tag it keeps the last.
"""

from __future__ import annotations

import io
import mmap
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32, STANDARD_VR

from medsam_edge.errors import ImageError
from medsam_edge.reading.limits import MAXIMUM_BYTES, MAXIMUM_RATIO

TAGS: list[BaseTag | int] = [
    Tag(keyword)
    for keyword in (
        "SOPClassUID", "Modality", "SeriesDescription", "SeriesInstanceUID", "PhotometricInterpretation",
        "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "BitsStored", "PixelRepresentation",
        "RescaleIntercept", "RescaleSlope", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    )
]  # fmt: skip
NOT_IMAGES = {
    "1.2.840.10008.1.3.10": "an index of files (DICOMDIR)",
    "1.2.840.10008.5.1.4.1.1.4.2": "MR spectra",
    "1.2.840.10008.5.1.4.1.1.9": "a waveform",
    "1.2.840.10008.5.1.4.1.1.11": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.66": "a segmentation or a registration",
    "1.2.840.10008.5.1.4.1.1.88": "a structured report",
    "1.2.840.10008.5.1.4.1.1.104": "a document",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.5.1.4.1.1.481.3": "a radiotherapy structure set",
    "1.2.840.10008.5.1.4.1.1.481.4": "a radiotherapy treatment record",
    "1.2.840.10008.5.1.4.1.1.481.5": "a radiotherapy plan",
    "1.2.840.10008.5.1.4.1.1.481.6": "a radiotherapy treatment record",
    "1.2.840.10008.5.1.4.1.1.481.7": "a radiotherapy treatment record",
    "1.2.840.10008.5.1.4.1.1.481.8": "a radiotherapy plan",
    "1.2.840.10008.5.1.4.1.1.481.9": "a radiotherapy treatment record",
}
"""What an object is, by the beginning of its SOP class. Doses have pixels, but a scale that GDCM does not apply."""
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END, PIXELS = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010
DEPTH = 16
"""Sequences in sequences; more are refused."""


class NoImageError(ImageError):
    """A DICOM object without an image."""


def read_elements(file: Path) -> tuple[Dataset, str]:
    """The elements of `TAGS` and the UID of the encoding, of a file whose lengths all fit."""
    if file.stat().st_size < 8:
        raise ValueError("it is too short for a DICOM file")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        data: Any = mapped  # to pydicom it is as good as a BinaryIO
        start = 132 if data[128:132] == b"DICM" else 0
        if not start and data[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
            raise ValueError("it is no DICOM file")
        data.seek(start)
        meta = read_dataset(data, False, True, stop_when=lambda tag, *_: tag.group != 2)
        _check_class(file, meta.get("MediaStorageSOPClassUID"))
        _Lengths(data, "<").check(start, data.tell(), explicit=True)
        syntax = str(meta.get("TransferSyntaxUID", ""))
        if syntax == DeflatedExplicitVRLittleEndian:
            limit = min(MAXIMUM_BYTES, MAXIMUM_RATIO * (len(data) - data.tell()))
            whole = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data.read(), limit + 1)
            if len(whole) > limit:
                raise ValueError(f"it unpacks to more than {limit} bytes")
            elements = _read_body(whole, 0, syntax)
        else:
            elements = _read_body(data, data.tell(), syntax)
    _check_class(file, elements.get("SOPClassUID"))
    return elements, syntax


def _read_body(data: Any, start: int, syntax: str) -> Dataset:
    explicit, big = syntax != ImplicitVRLittleEndian, syntax == ExplicitVRBigEndian
    if not syntax:  # GDCM guesses, too
        explicit, big = data[start + 4 : start + 6].decode("latin-1") in STANDARD_VR, data[start : start + 1] == b"\0"
    _Lengths(data, ">" if big else "<").check(start, len(data), explicit)
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    stream.seek(start)
    return read_dataset(stream, not explicit, not big, stop_when=lambda tag, *_: tag == PIXELS, specific_tags=TAGS)


def _check_class(file: Path, uid: str | None) -> None:
    for prefix, what in NOT_IMAGES.items():
        if f"{uid}.".startswith(f"{prefix}."):
            raise NoImageError(f"image: expected an image, {file} is {what}")


class _Lengths(NamedTuple):
    """A walk over data elements; ValueError for one that is longer than what holds it, or not encoded as said."""

    data: mmap.mmap | bytes  # of the file, or inflated
    order: str  # ">" for big-endian, "<" for little-endian

    def check(self, at: int, end: int, explicit: bool, depth: int = 0) -> int:
        """Walk from `at` to `end`, or to the mark that ends an item; returns where the elements end."""
        while at < end:
            tag, vr, value, length = self._element(at, end, explicit)
            if tag == ITEM_END and depth:
                return value
            at = end if length == UNDEFINED else value + length
            is_sequence = vr == "SQ" if explicit else tag != PIXELS and self.data[value : value + 4] == self._tag(ITEM)
            if length == UNDEFINED or is_sequence:
                # the inside of an unknown sequence (UN) is implicit
                at = self._check_items(value, at, explicit and vr != "UN", depth + 1, tag == PIXELS)
        return at

    def _check_items(self, at: int, end: int, explicit: bool, depth: int, pixels: bool) -> int:
        """Items hold elements, or bytes where they are pixels."""
        if depth > DEPTH:
            raise ValueError(f"it has more than {DEPTH} sequences in one another")
        while at < end:
            tag, _, value, length = self._element(at, end, explicit)
            if tag == SEQUENCE_END:
                return value
            if tag != ITEM or (pixels and length == UNDEFINED):
                raise ValueError(f"it has no item, or for pixels none of known length, at byte {at}")
            at = end if length == UNDEFINED else value + length
            if not pixels:
                at = self.check(value, at, explicit, depth)
        return at

    def _element(self, at: int, end: int, explicit: bool) -> tuple[int, str, int, int]:
        """Tag, type, where the value begins, and its length, which fits or is undefined."""
        header, value = self.data[at : min(at + 12, end)], at + 8
        vr = header[4:6].decode("latin-1") if explicit and header[:2] != self._tag(ITEM)[:2] else ""
        if len(header) < (12 if vr in EXPLICIT_VR_LENGTH_32 else 8):
            raise ValueError(f"it ends within a data element, at byte {at}")
        group, number, size = struct.unpack_from(f"{self.order}HHI", header)
        if vr in EXPLICIT_VR_LENGTH_16:
            (size,) = struct.unpack_from(f"{self.order}H", header, 6)
        elif vr in EXPLICIT_VR_LENGTH_32:
            value, (size,) = at + 12, struct.unpack_from(f"{self.order}I", header, 8)
        elif vr:
            raise ValueError(f"it has no known type at byte {at}, or is not encoded as it says")
        if size != UNDEFINED and value + size > end:
            name = f"({group:04x},{number:04x})"
            raise ValueError(f"it is cut or damaged: {name} is to have {size} bytes, {end - value} are left")
        return group << 16 | number, vr, value, size

    def _tag(self, tag: int) -> bytes:
        return struct.pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)
