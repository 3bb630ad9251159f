"""The elements of a DICOM header by pydicom, once every length in the file is known to fit (PS3.5, 7, 7.5 and A.4).

The file is walked here and pydicom gets only the elements of `TAGS`: it does not check lengths, and what it does not
read cannot stop it.
"""

from __future__ import annotations

import io
import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32, STANDARD_VR

from medsam_edge.errors import ImageError
from medsam_edge.reading.limits import MAXIMUM_BYTES, MAXIMUM_RATIO

TAGS = frozenset(
    int(Tag(keyword))
    for keyword in (
        "SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "SeriesDescription", "SeriesInstanceUID",
        "SliceThickness", "SpacingBetweenSlices", "NominalScannedPixelSpacing", "ImagerPixelSpacing", "PixelSpacing",
        "EstimatedRadiographicMagnificationFactor", "SequenceOfUltrasoundRegions", "ImagePositionPatient",
        "ImageOrientationPatient", "DetectorInformationSequence", "SamplesPerPixel", "PhotometricInterpretation",
        "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
        "PixelRepresentation", "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence",
        "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
        "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
        "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
        "SegmentedBluePaletteColorLookupTableData", "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
    )
)  # fmt: skip
"""The elements of the data set that are read."""
NOT_IMAGES = {
    "1.2.840.10008.1.3.10": "an index of files (DICOMDIR)",
    "1.2.840.10008.5.1.4.1.1.4.2": "MR spectra",
    "1.2.840.10008.5.1.4.1.1.9": "a waveform",
    "1.2.840.10008.5.1.4.1.1.11": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.66": "a segmentation or a registration",
    "1.2.840.10008.5.1.4.1.1.67": "a map of real world values",
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
"""What an object is, by the beginning of its SOP class. Doses have pixels, but another scale."""
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END, PIXELS = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010
DEPTH = 16
"""Sequences in sequences; more are refused."""


class NoImageError(ImageError):
    """A DICOM object without an image."""


class Pixels(NamedTuple):
    """Where the value of Pixel Data is, in the file or in what it inflates to."""

    start: int
    stop: int
    in_items: bool  # encapsulated
    vr: str  # "" of implicit elements


class Parsed(NamedTuple):
    """A DICOM file before its pixels are read."""

    elements: Dataset  # those of `TAGS`
    syntax: str  # UID of the encoding, "" where the file has none
    pixels: Pixels | None


def read_elements(file: Path) -> Parsed:
    """Read a file's header; ValueError if a length does not fit, NoImageError if it says that it is no image."""
    with _mapped(file) as data:
        meta, start = _read_meta(data)
        _check_class(file, meta.get("MediaStorageSOPClassUID"))
        syntax = str(meta.get("TransferSyntaxUID", ""))
        if syntax == DeflatedExplicitVRLittleEndian:
            parsed = _read_body(_inflated(data, start), 0, syntax)
        else:
            parsed = _read_body(data, start, syntax)
    _check_class(file, parsed.elements.get("SOPClassUID"))
    return parsed


def pixel_bytes(file: Path, syntax: str, pixels: Pixels) -> bytes:
    """Read the value of Pixel Data."""
    with _mapped(file) as data:
        whole = _inflated(data, _read_meta(data)[1]) if syntax == DeflatedExplicitVRLittleEndian else data
        return bytes(whole[pixels.start : pixels.stop])


@contextmanager
def _mapped(file: Path) -> Iterator[Any]:
    """The bytes of a file; to pydicom they are as good as a BinaryIO."""
    if file.stat().st_size < 8:
        raise ValueError("it is too short for a DICOM file")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _read_meta(data: Any) -> tuple[Dataset, int]:
    """The elements of group 2, and where the data set begins."""
    start = 132 if data[128:132] == b"DICM" else 0
    if not start and data[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        raise ValueError("it is no DICOM file")
    data.seek(start)
    meta = read_dataset(data, False, True, stop_when=lambda tag, *_: tag.group != 2)
    _Walk(data, "<").elements(start, data.tell(), explicit=True)
    return meta, data.tell()


def _inflated(data: Any, start: int) -> bytes:
    limit = min(MAXIMUM_BYTES, MAXIMUM_RATIO * (len(data) - start))
    whole = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], limit + 1)
    if len(whole) > limit:
        raise ValueError(f"it unpacks to more than {limit} bytes")
    return whole


def _read_body(data: Any, start: int, syntax: str) -> Parsed:
    """Some files say explicit and are implicit, or the other way round: the first element tells."""
    big = syntax == ExplicitVRBigEndian if syntax else data[start : start + 1] == b"\0"
    explicit = bool(_type(data[start : start + 6]))
    walk = _Walk(data, ">" if big else "<")
    try:
        head, pixels = walk.top(start, len(data), explicit)
    except ValueError as reason:
        explicit = not explicit  # the first element may be odd, too
        try:
            head, pixels = walk.top(start, len(data), explicit)
        except ValueError:
            raise reason from None
    return Parsed(read_dataset(io.BytesIO(head), not explicit, not big), syntax, pixels)


def _type(header: bytes) -> str:
    """The type in an explicit element's header: two capital letters; "" where there is none."""
    vr = header[4:6]
    return vr.decode("ascii") if len(vr) == 2 and vr.isalpha() and vr.isupper() else ""


def _check_class(file: Path, uid: str | None) -> None:
    for prefix, what in NOT_IMAGES.items():
        if f"{uid}.".startswith(f"{prefix}."):
            raise NoImageError(f"image: expected an image, {file} is {what}")


class _Walk(NamedTuple):
    """A walk over data elements; ValueError for one that is longer than what holds it, or not encoded as said."""

    data: mmap.mmap | bytes  # of the file, or inflated
    order: str  # ">" for big-endian, "<" for little-endian

    def top(self, at: int, end: int, explicit: bool) -> tuple[bytes, Pixels | None]:
        """The elements of `TAGS` as they are stored, and where the pixels are. What comes after is not looked at:
        many files are filled up, with zeros or a line break."""
        found: list[bytes] = []
        while at < end and self.data[at : at + 4] != bytes(4):
            tag, vr, value, length = self._element(at, end, explicit)
            after = self._after(tag, vr, value, length, end, explicit, 0)
            if tag == PIXELS:
                in_items = length == UNDEFINED
                marked = in_items and self.data[after - 8 : after - 4] == self._tag(SEQUENCE_END)
                return b"".join(found), Pixels(value, after - 8 * marked, in_items, vr)
            if tag in TAGS:
                untyped = explicit and not vr
                found.append(self._typed(tag, length, self.data[value:after]) if untyped else self.data[at:after])
            at = after
        return b"".join(found), None

    def _typed(self, tag: int, length: int, value: bytes) -> bytes:
        """An element with the type that DICOM's dictionary gives it."""
        head, vr = struct.pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF), dictionary_VR(tag)[:2]
        form = "2sxxI" if vr in EXPLICIT_VR_LENGTH_32 else "2sH"
        return head + struct.pack(f"{self.order}{form}", vr.encode(), length) + value

    def elements(self, at: int, end: int, explicit: bool, depth: int = 0) -> int:
        """Walk from `at` to `end`, or to the mark that ends an item; returns where the elements end."""
        while at < end:
            tag, vr, value, length = self._element(at, end, explicit)
            if tag == ITEM_END and depth:
                return value
            at = self._after(tag, vr, value, length, end, explicit, depth)
        return at

    def _after(self, tag: int, vr: str, value: int, length: int, end: int, explicit: bool, depth: int) -> int:
        """Where an element ends, with all that it holds."""
        stop = end if length == UNDEFINED else value + length
        is_sequence = vr == "SQ" or (not vr and tag != PIXELS and self.data[value : value + 4] == self._tag(ITEM))
        if length == UNDEFINED or is_sequence:
            return self._items(value, stop, explicit and vr != "UN", depth + 1, tag == PIXELS)
        return stop

    def _items(self, at: int, end: int, explicit: bool, depth: int, pixels: bool) -> int:
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
                # the inside of an unknown sequence (UN) is implicit, but some writers keep the types
                typed = explicit or _type(self.data[value : value + 6]) in STANDARD_VR
                at = self.elements(value, at, typed, depth)
        return at

    def _element(self, at: int, end: int, explicit: bool) -> tuple[int, str, int, int]:
        """Tag, type, where the value begins, and its length, which fits or is undefined."""
        header, value = self.data[at : min(at + 12, end)], at + 8
        typed = explicit and header[:2] != self._tag(ITEM)[:2]
        vr = _type(header) if typed else ""
        if len(header) < (12 if vr in EXPLICIT_VR_LENGTH_32 else 8):
            raise ValueError(f"it ends within a data element, at byte {at}")
        group, number, size = struct.unpack_from(f"{self.order}HHI", header)
        if vr in EXPLICIT_VR_LENGTH_16:
            (size,) = struct.unpack_from(f"{self.order}H", header, 6)
        elif vr in EXPLICIT_VR_LENGTH_32:
            value, (size,) = at + 12, struct.unpack_from(f"{self.order}I", header, 8)
        elif vr:
            raise ValueError(f"it has no known type at byte {at}, or is not encoded as it says")
        if typed and not vr and size != UNDEFINED and value + size > end:  # a gap in place of the type
            (size,) = struct.unpack_from(f"{self.order}H", header, 6)
        if size != UNDEFINED and value + size > end:
            name = f"({group:04x},{number:04x})"
            raise ValueError(f"it is cut or damaged: {name} is to have {size} bytes, {end - value} are left")
        return group << 16 | number, vr, value, size

    def _tag(self, tag: int) -> bytes:
        return struct.pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)
