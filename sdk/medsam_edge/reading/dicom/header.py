"""What a DICOM file is, before its pixels are read.

GDCM, SimpleITK's reader, applies the rescale and gives RGB for all colour. It also reads a few kinds of files wrongly
without a word; those are refused here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medsam_edge.errors import ImageError, ModalityError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.modality import Modality
from medsam_edge.reading.dicom.elements import BIG_ENDIAN, DEFLATED, check_elements
from medsam_edge.reading.dicom.geometry import Floats, functional_frame, parse_decimals
from medsam_edge.reading.itk import from_simpleitk, itk_path
from medsam_edge.reading.limits import check_claim

HEAD_BYTES = 4096
"""Enough for the identifiers of class and encoding, which come first."""
RUN_LENGTH = "1.2.840.10008.1.2.5"
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
HAVE_UNITS = (Modality.CT, Modality.PET)
"""Their values are measures, HU and Bq/ml; MONOCHROME1 says how to show them and must not turn them round."""


def is_dicom(file: Path) -> bool:
    """Whether the file has DICOM's preamble, or begins as one without it."""
    head = _head(file)
    bare = head.startswith((b"\x02\x00", b"\x08\x00", b"\x00\x08")) and b"1.2.840.10008." in head
    return bare or head[128:132] == b"DICM"


class DicomHeader:
    """What a DICOM image says before its pixels are read.

    Raises:
        ImageError: no image, too large, or of a kind that GDCM reads wrongly.
    """

    def __init__(self, file: Path) -> None:
        import SimpleITK as sitk

        if what := not_an_image(file):
            raise ImageError(f"image: expected an image, {file} is {what}")
        check_elements(file)
        self.file = file.absolute()  # a frame refers to it, wherever the process goes
        self._reader: Any = sitk.ImageFileReader()
        self._reader.SetFileName(itk_path(file))
        self._reader.SetImageIO("GDCMImageIO")  # and no other, whatever the content
        with _reading(file):
            self._reader.ReadImageInformation()
            self.size: tuple[int, ...] = self._reader.GetSize()  # x, y, frames
            self._spacing_mm: tuple[float, float] = self._reader.GetSpacing()[:2]
            self.is_color: bool = self._reader.GetNumberOfComponents() > 1
            pixel = sitk.Image([1, 1], self._reader.GetPixelID())
            self.dtype: np.dtype[Any] = sitk.GetArrayViewFromImage(pixel).dtype
        components = self._reader.GetNumberOfComponents()
        check_claim(file, self.size, components * self.dtype.itemsize, stored_bits=0)  # blank slices pack to nothing
        self.photometric = self.tag("0028|0004")
        self.modality = _modality(self.tag("0008|0060"))
        self._check_encoding(_head(file))

    def tag(self, key: str) -> str:
        """A tag's text, "" where there is none; letters of other alphabets may be lost."""
        value = str(self._reader.GetMetaData(key)) if self._reader.HasMetaDataKey(key) else ""
        return value.encode("utf-8", "replace").decode().strip(" \0")

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Along x and y: Pixel Spacing, which is between rows first; without it what GDCM takes in its place."""
        spacing = self._numbers("0028|0030", 2)
        return self._spacing_mm if spacing is None or spacing.min() <= 0 else (float(spacing[1]), float(spacing[0]))

    @property
    def position(self) -> Floats:
        """(3,) mm: Image Position (Patient)."""
        return self._required("0020|0032", 3, "position (Image Position (Patient))")

    @property
    def orientation(self) -> Floats:
        """(6,) direction cosines: Image Orientation (Patient)."""
        return self._required("0020|0037", 6, "orientation (Image Orientation (Patient))")

    def load(self) -> LoadedImage:
        """Read the pixels.

        Raises:
            ImageError: unreadable, or frames that are no volume.
        """
        frames = self.size[2] if len(self.size) > 2 else 1
        frame = functional_frame(self.file, frames) if frames > 1 else None
        with _reading(self.file):
            loaded = from_simpleitk(self._reader.Execute(), str(self.file))
        pixels = loaded.pixels
        if self.photometric == "MONOCHROME1" and self.modality in HAVE_UNITS:
            pixels = (self._range_sum() - pixels.astype(np.float64)).astype(pixels.dtype)
        if pixels.dtype == np.float64:
            pixels = pixels.astype(np.float32)
        if frame is None and loaded.frame is not None:
            frame = Frame(loaded.frame.spacing_mm, loaded.frame.origin_mm, loaded.frame.direction, (self.file,))
        return LoadedImage(pixels, frame, self.modality, color=self.is_color)

    def _check_encoding(self, head: bytes) -> None:
        """Refuses what GDCM reads wrongly, or what cannot be checked."""
        several, bits = len(self.size) > 2 and self.size[2] > 1, self.dtype.itemsize * 8
        big_endian = _has_uid(head, BIG_ENDIAN) or head.startswith(b"\x00\x08")
        reason = None
        if several and self.is_color:
            reason = f"has {self.size[2]} frames in colour, expected one image or grey frames"
        elif several and (big_endian or _has_uid(head, DEFLATED)):
            reason = "has frames in big-endian or deflated order, where their positions cannot be checked"
        elif several and self.photometric == "MONOCHROME1" and self.modality in HAVE_UNITS:
            reason = f"has {self.modality} frames in MONOCHROME1, which are not read"
        elif big_endian and bits > 16:
            reason = "has more than 16 bits in big-endian order, which GDCM misreads"
        elif self.is_color and bits > 8 and _has_uid(head, RUN_LENGTH):
            reason = f"has run-length encoded colour of {bits} bits, which GDCM misreads"
        if reason:
            raise ImageError(f"image: {self.file} {reason}")

    def _range_sum(self) -> float:
        """Of the lowest and the highest value that can be stored, rescaled: GDCM turns MONOCHROME1 round in it."""
        bits, signed = self._required("0028|0101", 1, "bits")[0], self._required("0028|0103", 1, "sign")[0]
        slope, intercept = self._numbers("0028|1053", 1), self._numbers("0028|1052", 1)
        stored = -1.0 if signed else 2.0**bits - 1
        return float(stored * (1 if slope is None else slope[0]) + 2 * (0 if intercept is None else intercept[0]))

    def _required(self, key: str, count: int, name: str) -> Floats:
        numbers = self._numbers(key, count)
        if numbers is None:
            raise ImageError(f"image: expected slices with a known {name}, {self.file} has none")
        return numbers

    def _numbers(self, key: str, count: int) -> Floats | None:
        text = self.tag(key)
        return parse_decimals(text, count, f"{self.file} in {key}") if text else None


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def not_an_image(file: Path) -> str | None:
    """What an object without an image is, by the first SOP class named in it; None of all others."""
    found = re.search(rb"1\.2\.840\.10008\.(5\.1\.4\.1\.1\.[\d.]+|1\.3\.10)", _head(file))
    uid = f"{found[0].decode()}." if found else ""
    return next((what for prefix, what in NOT_IMAGES.items() if uid.startswith(f"{prefix}.")), None)


def _has_uid(head: bytes, uid: str) -> bool:
    return re.search(re.escape(uid.encode()) + rb"(?![\d.])", head) is not None


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """GDCM's errors become ImageErrors, and ITK's warnings do not reach the terminal."""
    import SimpleITK as sitk

    with _warnings_switch:  # there is one for the whole process
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            yield
        except RuntimeError as error:
            raise ImageError(f"image: cannot read {file}: no DICOM image that GDCM knows, or damaged") from error
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)


_warnings_switch = threading.Lock()


def _modality(code: str) -> Modality | None:
    try:
        return Modality.parse(code or None)
    except ModalityError:
        return None
