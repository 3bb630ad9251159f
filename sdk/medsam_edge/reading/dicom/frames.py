"""One DICOM file: its header by pydicom, its pixels by GDCM through SimpleITK.

GDCM applies the rescale and gives RGB for all colour. It also reads a few kinds of files wrongly without a word; those
are refused here.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from medsam_edge.errors import ImageError, ModalityError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.modality import Modality
from medsam_edge.reading.dicom.elements import read_elements
from medsam_edge.reading.dicom.geometry import Floats, functional_frame, numbers
from medsam_edge.reading.itk import from_simpleitk, itk_path
from medsam_edge.reading.limits import check_claim
from medsam_edge.reading.unreadable import as_image_error

HAVE_UNITS = (Modality.CT, Modality.PET)
"""Their values are measures, HU and Bq/ml; MONOCHROME1 says how to show them and must not turn them round."""


@dataclass(frozen=True)
class DicomHeader:
    """What a DICOM image says before its pixels are read.

    Attributes:
        file: absolute, because a frame refers to it wherever the process goes.
        elements: those of `TAGS`.
        syntax: UID of the encoding, "" where the file has none.
        size: pixels along x and y, and the number of frames.
        gdcm_spacing_mm: along x and y, where there is no Pixel Spacing.
        dtype: of the rescaled values.
        is_color: GDCM gives RGB.
    """

    file: Path
    elements: Dataset
    syntax: str
    size: tuple[int, int, int]
    gdcm_spacing_mm: tuple[float, float]
    dtype: np.dtype[Any]
    is_color: bool

    def text(self, keyword: str) -> str:
        """An element's text, "" where there is none."""
        return str(self.elements.get(keyword) or "").strip()

    @property
    def photometric(self) -> str:
        return self.text("PhotometricInterpretation")

    @property
    def modality(self) -> Modality | None:
        """None where the file names none, or one that is not known."""
        try:
            return Modality.parse(self.text("Modality") or None)
        except ModalityError:
            return None

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Along x and y: Pixel Spacing, which is between rows first; without it what GDCM takes in its place."""
        spacing = numbers(self.elements, "PixelSpacing", 2, self.file)
        return self.gdcm_spacing_mm if spacing is None or spacing.min() <= 0 else (float(spacing[1]), float(spacing[0]))

    @property
    def position(self) -> Floats:
        """(3,) mm: Image Position (Patient)."""
        return self.required("ImagePositionPatient", 3, "position (Image Position (Patient))")

    @property
    def orientation(self) -> Floats:
        """(6,) direction cosines: Image Orientation (Patient)."""
        return self.required("ImageOrientationPatient", 6, "orientation (Image Orientation (Patient))")

    def required(self, keyword: str, count: int, name: str) -> Floats:
        """(count,) numbers of an element. Raises ImageError when there are none, or not so many."""
        found = numbers(self.elements, keyword, count, self.file)
        if found is None:
            raise ImageError(f"image: expected slices with a known {name}, {self.file} has none")
        return found


def read_header(file: Path) -> DicomHeader:
    """The header of a DICOM image.

    Raises:
        NoImageError: another DICOM object.
        ImageError: unreadable, too large, or of a kind that GDCM reads wrongly.
    """
    with as_image_error(file):
        elements, syntax = read_elements(file)
    with _gdcm(file) as reader:
        reader.ReadImageInformation()
        x, y, frames = reader.GetSize()
        components = reader.GetNumberOfComponents()
        dtype = sitk.GetArrayViewFromImage(sitk.Image([1, 1], reader.GetPixelID())).dtype
        spacing_mm = reader.GetSpacing()[:2]
    check_claim(file, (x, y, frames), components * dtype.itemsize, stored_bits=0)  # blank slices pack to nothing
    header = DicomHeader(file.absolute(), elements, syntax, (x, y, frames), spacing_mm, dtype, components > 1)
    _check_encoding(header)
    return header


def load(header: DicomHeader) -> LoadedImage:
    """Read the pixels.

    Raises:
        ImageError: unreadable, or frames that are no volume.
    """
    frames = header.size[2]
    frame = functional_frame(header.elements, frames, header.file) if frames > 1 else None
    with _gdcm(header.file) as reader:
        loaded = from_simpleitk(reader.Execute(), str(header.file))
    pixels = loaded.pixels
    if header.photometric == "MONOCHROME1" and header.modality in HAVE_UNITS:
        pixels = (_range_sum(header) - pixels.astype(np.float64)).astype(pixels.dtype)
    if pixels.dtype == np.float64:
        pixels = pixels.astype(np.float32)
    if frame is None and loaded.frame is not None:
        frame = Frame(loaded.frame.spacing_mm, loaded.frame.origin_mm, loaded.frame.direction, (header.file,))
    return LoadedImage(pixels, frame, header.modality, color=header.is_color)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of pydicom and of ITK while files are read. The switch of each is one for the whole process."""
    with _switches, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\.")
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            yield
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)


_switches = threading.Lock()


def _check_encoding(header: DicomHeader) -> None:
    """Refuses what GDCM reads wrongly, or what cannot be checked."""
    frames, bits = header.size[2], header.dtype.itemsize * 8
    big_endian = header.elements.original_encoding == (False, False)
    reason = None
    if frames > 1 and header.is_color:
        reason = f"has {frames} frames in colour, expected one image or grey frames"
    elif frames > 1 and header.photometric == "MONOCHROME1" and header.modality in HAVE_UNITS:
        reason = f"has {header.modality} frames in MONOCHROME1, which are not read"
    elif big_endian and bits > 16:
        reason = "has more than 16 bits in big-endian order, which GDCM misreads"
    elif header.is_color and bits > 8 and header.syntax == RLELossless:
        reason = f"has run-length encoded colour of {bits} bits, which GDCM misreads"
    if reason:
        raise ImageError(f"image: {header.file} {reason}")


@contextmanager
def _gdcm(file: Path) -> Iterator[sitk.ImageFileReader]:
    """SimpleITK's reader of a file, by GDCM and no other, whatever the content."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_path(file))
    reader.SetImageIO("GDCMImageIO")
    try:
        yield reader
    except RuntimeError as error:
        raise ImageError(f"image: cannot read {file}: no DICOM image that GDCM knows, or damaged") from error


def _range_sum(header: DicomHeader) -> float:
    """Of the lowest and the highest value that can be stored, rescaled: GDCM turns MONOCHROME1 round in it."""
    bits, signed = header.required("BitsStored", 1, "bits")[0], header.required("PixelRepresentation", 1, "sign")[0]
    slope, intercept = (numbers(header.elements, f"Rescale{what}", 1, header.file) for what in ("Slope", "Intercept"))
    stored = -1.0 if signed else 2.0**bits - 1
    return float(stored * (1 if slope is None else slope[0]) + 2 * (0 if intercept is None else intercept[0]))
