"""The values of DICOM images: pixels as stored, then RGB, or grey and rescaled.

pydicom decodes what is not compressed or run-length encoded. GDCM decodes the rest, from a file that is made for it: it
has the pixels, and what describes them, and says of JPEG's colours what the JPEG itself says.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from medsam_edge.errors import ImageError
from medsam_edge.modality import Modality
from medsam_edge.reading.dicom.elements import pixel_bytes
from medsam_edge.reading.dicom.header import DicomHeader
from medsam_edge.reading.itk import itk_path
from medsam_edge.reading.unreadable import as_image_error, unreadable

Values = npt.NDArray[Any]
HAVE_UNITS = (Modality.CT, Modality.PET)
"""Their values are measures, HU and Bq/ml; MONOCHROME1 says how to show them and must not turn them round."""
PLAIN = ("", ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
DESCRIPTION = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip
"""The elements that describe pixels."""


def read_values(header: DicomHeader) -> Values:
    """(H, W) or (frames, H, W) grey, rescaled and with white high; or (H, W, 3) RGB."""
    with as_image_error(header.file):
        data = pixel_bytes(header.file, header.syntax, header.place)
        plain = header.syntax in (*PLAIN, RLELossless)
        stored = _by_pydicom(header, data) if plain else _by_gdcm(header, data)
        columns, rows, frames = header.size
        samples = (3,) if header.whole("SamplesPerPixel", 1) == 3 else ()
        if stored.shape != (*(frames,) * (frames > 1), rows, columns, *samples):
            raise ValueError(f"its pixels have shape {stored.shape}, its header says {(frames, rows, columns)}")
        if samples:
            return stored
        stored = _used_bits(header, stored)
        if header.photometric == "PALETTE COLOR":
            return _palette(header, stored)
        return _rescaled(header, stored)


def _described(header: DicomHeader, data: bytes, syntax: str) -> Dataset:
    """A data set of the pixels and what describes them."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    for keyword in DESCRIPTION:
        if header.elements.get(keyword) is not None:
            setattr(made, keyword, header.elements.get(keyword))
    made.PixelData = data
    made["PixelData"].VR = "OB" if header.place.in_items or header.place.vr == "OB" else "OW"
    made["PixelData"].is_undefined_length = header.place.in_items
    return made


def _by_pydicom(header: DicomHeader, data: bytes) -> Values:
    """Decode; colour becomes RGB."""
    made = _described(header, data, header.syntax or _guessed(header))
    if header.whole("SamplesPerPixel", 1) == 1:  # `_used_bits` knows where the lowest bit is, pydicom does not
        made.PhotometricInterpretation, made.BitsStored = "MONOCHROME2", made.BitsAllocated
        made.HighBit = made.BitsAllocated - 1
    return np.asarray(made.pixel_array)


def _guessed(header: DicomHeader) -> UID:
    implicit, little = header.elements.original_encoding
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _by_gdcm(header: DicomHeader, data: bytes) -> Values:
    """Decode through SimpleITK; colour becomes RGB."""
    made = _described(header, data, header.syntax)
    several = header.size[2] > 1
    made.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage if several else SecondaryCaptureImageStorage
    made.SOPInstanceUID = UID("2.25.1")
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    if header.whole("SamplesPerPixel", 1) == 1:
        made.PhotometricInterpretation = "MONOCHROME2"
    else:
        made.PhotometricInterpretation = _color_space(header, next(generate_frames(data, number_of_frames=1), b""))
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with tempfile.TemporaryDirectory(prefix="medsam-edge-") as folder:
        file = Path(folder) / "pixels.dcm"
        pydicom.dcmwrite(file, made, enforce_file_format=True)
        reader.SetFileName(itk_path(file))
        try:
            pixels = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            reason = str(unreadable(header.file, error)).rpartition(": ")[2].replace(str(file), header.file.name)
            name = UID(header.syntax).name
            raise ImageError(f"image: cannot read {header.file}: GDCM does not decode its {name}: {reason}") from error
    return np.asarray(pixels if several else pixels[0])


def _color_space(header: DicomHeader, frame: bytes) -> str:
    """The colours of a compressed frame, which it knows better than the header."""
    label = header.photometric
    if header.syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return _jpeg_colors(frame) or label
    if header.syntax in JPEG_2000:
        at = frame.find(b"\xff\x52")  # COD: length, style, progression, layers, component transform
        transformed = at >= 0 and frame[at + 8 : at + 9] == b"\x01"
        reversible = header.syntax == JPEG_2000[0]
        if transformed:
            return "YBR_RCT" if reversible else "YBR_ICT"
        return "RGB" if label in ("YBR_RCT", "YBR_ICT") else label
    return label


def _jpeg_colors(frame: bytes) -> str | None:
    """What a JPEG's markers say, as libjpeg takes them: JFIF is YCbCr, Adobe says which, else components named R, G
    and B are these; None where nothing tells."""
    at, adobe, names = 2, None, b""
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker, (length,) = frame[at + 1], struct.unpack_from(">H", frame, at + 2)
        part = frame[at + 4 : at + 2 + length]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xE0 and part.startswith(b"JFIF\0"):
            return "YBR_FULL_422"
        if marker == 0xEE and part.startswith(b"Adobe") and len(part) >= 12:
            adobe = part[11]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            names = part[6::3][:3]
        if marker == 0xDA:
            break
        at += 2 + length
    if adobe is not None:
        return "YBR_FULL_422" if adobe else "RGB"
    return "RGB" if names == b"RGB" else None


def _used_bits(header: DicomHeader, stored: Values) -> Values:
    """Values without the bits above and below those stored, which may hold overlays or anything."""
    bits, below = header.bits
    above = 8 * stored.dtype.itemsize - bits - below
    if above == below == 0 or bits == 1:
        return stored
    return (stored << above) >> (above + below)


def _palette(header: DicomHeader, stored: Values) -> Values:
    color = apply_color_lut(stored, header.elements)
    return (color >> 8).astype(np.uint8) if color.dtype.itemsize > 1 else color


def _rescaled(header: DicomHeader, stored: Values) -> Values:
    """Through the Modality LUT, or slope and intercept. MONOCHROME1 is turned round on the stored range."""
    if lookup := header.elements.get("ModalityLUTSequence"):
        stored, ends = _looked_up(header, stored, lookup[0])
    else:
        ends = header.stored_range
    if header.photometric == "MONOCHROME1" and header.modality not in HAVE_UNITS:
        stored = (sum(ends) - stored.astype(np.int64)).astype(stored.dtype)
    dtype = header.dtype
    if lookup or (stored.dtype == dtype and all((a == b).all() for a, b in zip(header.rescale, (1, 0), strict=True))):
        return stored
    slopes, intercepts = (np.broadcast_to(values, header.size[2]) for values in header.rescale)
    values = np.empty(stored.shape, dtype)
    planes = (values.reshape(-1, *stored.shape[-2:]), stored.reshape(-1, *stored.shape[-2:]))
    for target, plane, slope, intercept in zip(*planes, slopes, intercepts, strict=True):
        target[:] = plane * slope + intercept  # float64, exact for whole numbers
    return values


def _looked_up(header: DicomHeader, stored: Values, lookup: Dataset) -> tuple[Values, tuple[int, int]]:
    """Values through a Modality LUT (PS3.3, C.11.1), and the lowest and the highest that it can give."""
    count, first, bits = (int(number) for number in lookup.LUTDescriptor)
    if header.stored_range[0] < 0 and first > 0x7FFF:
        first -= 0x10000  # stored without its sign
    data = lookup.LUTData
    count = count or 0x10000
    order = "<" if header.elements.original_encoding[1] else ">"
    table = np.frombuffer(data, f"{order}u2") if isinstance(data, bytes) else np.atleast_1d(np.asarray(data))
    if len(table) < count or not 1 <= bits <= 16 or table.min() < 0 or table.max() > 0xFFFF:
        raise ValueError(f"its Modality LUT has {len(table)} entries, expected {count} of at most 16 bits")
    index = np.clip(stored.astype(np.int64) - first, 0, count - 1)
    return table[:count].astype(np.uint16)[index], (0, (1 << bits) - 1)
