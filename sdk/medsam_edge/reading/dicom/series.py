"""DICOM images and series: first the headers, then whether the planes make a volume, last the pixels.

Headers are read by pydicom, pixels by GDCM through SimpleITK. GDCM applies the rescale and gives RGB for all colour. It
also reads a few kinds of files wrongly without a word; those are refused here.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
from medsam_edge.reading.dicom.elements import NoImageError, read_elements
from medsam_edge.reading.dicom.geometry import SAME, Floats, functional_frame, numbers, plane_axes, stack_frame
from medsam_edge.reading.dicom.preamble import is_dicom
from medsam_edge.reading.itk import from_simpleitk, itk_path
from medsam_edge.reading.limits import check_claim, check_size
from medsam_edge.reading.unreadable import as_image_error

_switches = threading.Lock()
HAVE_UNITS = (Modality.CT, Modality.PET)
"""Their values are measures, HU and Bq/ml; MONOCHROME1 says how to show them and must not turn them round."""


def read_dicom(file: Path) -> LoadedImage:
    """A DICOM image: (H, W) grey or (H, W, 3) RGB; of several grey frames (D, H, W), in the order of the file.

    Values are rescaled (CT in HU): integers where they can be, else float32. MONOCHROME1 is turned round on the
    stored range, so that white is high as in every other image, but not in CT and PET, whose values are measures.
    Frames with positions must lie one behind the other at equal distances; frames without (films) are taken as
    slices at the spacing that SimpleITK assumes.
    """
    with _quiet():
        return load(_read_header(file))


def read_series(folder: Path) -> LoadedImage:
    """The one series in a folder, (D, H, W), its slices sorted by their positions along the normal; a single slice is
    read as `read_dicom` does.

    Other files, subfolders, DICOMDIR and DICOM objects that are no images are passed over. Each slice has its own
    rescale. ImageError unless there is one series, and its slices are alike, grey, and make one regular volume.
    """
    headers = []
    with _quiet():
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.name.startswith(".") and (file.suffix.lower() == ".dcm" or is_dicom(file)):
                with suppress(NoImageError):
                    headers.append(_read_header(file))
        _check_one_series(folder, headers)
        return load(headers[0]) if len(headers) == 1 else _stacked(folder, headers)


def _stacked(folder: Path, headers: list[DicomHeader]) -> LoadedImage:
    _check_alike(headers)
    axes = plane_axes(headers[0].orientation, headers[0].file.name)
    headers = sorted(headers, key=lambda header: float(header.position @ axes[2]))
    first = headers[0]
    check_size(folder, (*first.size[:2], len(headers)), max(header.dtype.itemsize for header in headers))
    positions = np.stack([header.position for header in headers])
    files = tuple(header.file for header in headers)
    frame = stack_frame([file.name for file in files], positions, axes, first.spacing_mm, files)
    kind = np.result_type(*(header.dtype for header in headers))
    volume = np.empty((len(headers), first.size[1], first.size[0]), np.float32 if kind.kind == "f" else kind)
    for target, header in zip(volume, headers, strict=True):
        target[:] = load(header).pixels
    return LoadedImage(volume, frame, first.modality, color=False)


def _check_one_series(folder: Path, headers: Sequence[DicomHeader]) -> None:
    if not headers:
        raise ImageError(f"image: expected a DICOM series, the folder {folder} has no DICOM image")
    counts = Counter(header.text("SeriesInstanceUID") for header in headers)
    if len(counts) > 1:
        names = {header.text("SeriesInstanceUID"): header.text("SeriesDescription") for header in headers}
        found = ", ".join(f"{names[uid] or uid or 'unnamed'!r} ({count} slices)" for uid, count in counts.items())
        raise ImageError(
            f"image: expected one series, {folder} has {len(counts)}: {found}; give a folder that holds only one"
        )


def _check_alike(headers: Sequence[DicomHeader]) -> None:
    """What slices of one volume have in common."""
    first = headers[0]
    for header in headers:
        if header.is_color or header.size[2] != 1:
            what = "in colour" if header.is_color else f"of {header.size[2]} frames"
            raise ImageError(f"image: expected a series of single grey slices, {header.file} is {what}")
        for name, own, other in (
            ("size (x, y)", header.size[:2], first.size[:2]),
            ("photometric interpretation", header.photometric, first.photometric),
        ):
            if own != other:
                raise _unlike(name, header, own, first, other)
        for name, mine, theirs in (
            ("pixel spacing (x, y)", header.spacing_mm, first.spacing_mm),
            ("orientation", tuple(header.orientation.tolist()), tuple(first.orientation.tolist())),
        ):
            if not np.allclose(mine, theirs, rtol=0, atol=SAME):
                raise _unlike(name, header, mine, first, theirs)


def _unlike(name: str, header: DicomHeader, own: object, first: DicomHeader, other: object) -> ImageError:
    return ImageError(
        f"image: expected slices of one {name}, {first.file.name} has {other}, {header.file.name} has {own}"
    )


@dataclass(frozen=True)
class DicomHeader:
    """What a DICOM image says before its pixels are read."""

    file: Path  # absolute, because a frame refers to it wherever the process goes
    elements: Dataset  # those of `TAGS`
    syntax: str  # UID of the encoding, "" where the file has none
    size: tuple[int, int, int]  # pixels along x and y, and the number of frames
    gdcm_spacing_mm: tuple[float, float]  # along x and y, where there is no Pixel Spacing
    dtype: np.dtype[Any]  # of the rescaled values
    is_color: bool  # GDCM gives RGB

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


def _read_header(file: Path) -> DicomHeader:
    """The header of a DICOM image; NoImageError for another object, ImageError for what GDCM reads wrongly."""
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
    """Read the pixels; ImageError for frames that are no volume."""
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
def _quiet() -> Iterator[None]:
    """No warnings of pydicom and of ITK while files are read. The switch of each is one for the whole process."""
    with _switches, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\.")
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            yield
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)


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
