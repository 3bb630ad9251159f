"""What a DICOM image says before its pixels are read: its size, its values and where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medsam_edge.errors import ImageError, ModalityError
from medsam_edge.image import Frame
from medsam_edge.modality import Modality
from medsam_edge.reading.dicom.elements import NoImageError, Pixels, read_elements
from medsam_edge.reading.dicom.geometry import Floats, decimals, numbers, plane_axes
from medsam_edge.reading.limits import check_claim
from medsam_edge.reading.unreadable import as_image_error

MEASURES = ("PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence")
CM, TWO_DIMENSIONAL = 3, 1  # of an ultrasound region: its unit and its spatial format
SAME_SHARE = 1e-3  # by which the pixel sizes of ultrasound regions may differ
MAXIMUM_BITS = 32


@dataclass(frozen=True)
class DicomHeader:
    """The header of a DICOM image."""

    file: Path  # absolute, because a frame refers to it wherever the process goes
    elements: Dataset  # those of `TAGS`
    syntax: str  # UID of the encoding, "" where the file has none
    place: Pixels  # of the pixels in the file

    def text(self, keyword: str) -> str:
        """An element's text, "" where there is none."""
        return str(self.elements.get(keyword) or "").strip()

    def whole(self, keyword: str, default: int | None = None) -> int:
        """An element's whole number. ImageError where it is none, or absent without a default."""
        found = numbers(self.elements, keyword, 1, self.file)
        if found is None and default is not None:
            return default
        if found is None or found[0] != int(found[0]):
            raise ImageError(
                f"image: expected a whole number in {keyword}, {self.file} has {'none' if found is None else found}"
            )
        return int(found[0])

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

    @cached_property
    def size(self) -> tuple[int, int, int]:
        """Pixels along x and y, and the number of frames."""
        return self.whole("Columns"), self.whole("Rows"), max(self.whole("NumberOfFrames", 1), 1)

    @property
    def is_color(self) -> bool:
        return self.whole("SamplesPerPixel", 1) > 1 or self.photometric == "PALETTE COLOR"

    @cached_property
    def bits(self) -> tuple[int, int]:
        """Bits stored for a value, and the bits beneath them."""
        allocated = self.whole("BitsAllocated")
        stored = self.whole("BitsStored", allocated)
        below = self.whole("HighBit", stored - 1) + 1 - stored
        if not (0 < stored <= allocated <= MAXIMUM_BITS and 0 <= below <= allocated - stored):
            raise ImageError(
                f"image: expected at most {MAXIMUM_BITS} bits, those stored within those allocated, {self.file} has "
                f"{stored} of {allocated}, the highest is {self.text('HighBit')}"
            )
        return stored, below

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and the highest value that can be stored."""
        bits = self.bits[0]
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.whole("PixelRepresentation", 0) else (0, (1 << bits) - 1)

    @cached_property
    def rescale(self) -> tuple[Floats, Floats]:
        """(1,) or (frames,) slopes and intercepts."""
        found = []
        for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
            rows = decimals(self.groups, "PixelValueTransformationSequence", keyword, 1, self.file)[:, 0]
            if len(rows) not in (0, 1, self.size[2]):
                raise ImageError(f"image: expected a {keyword} for all frames, {self.file} has {len(rows)}")
            own = numbers(self.elements, keyword, 1, self.file)
            found.append(rows if len(rows) else np.array([default]) if own is None else own)
        return found[0], found[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the rescaled values: as stored, else integers that hold all of them, else float32."""
        signed = bool(self.whole("PixelRepresentation", 0))
        bytes_ = next(size for size in (1, 2, 4) if 8 * size >= self.whole("BitsAllocated"))
        plain = np.dtype(f"{'i' if signed else 'u'}{bytes_}")
        slopes, intercepts = self.rescale
        if self.is_color:
            return np.dtype(np.uint8) if self.photometric == "PALETTE COLOR" else plain
        if self.elements.get("ModalityLUTSequence"):
            return np.dtype(np.uint16)
        if (slopes == 1).all() and (intercepts == 0).all():
            return plain
        if not ((slopes == np.rint(slopes)).all() and (intercepts == np.rint(intercepts)).all()):
            return np.dtype(np.float32)
        ends = np.outer(self.stored_range, slopes) + intercepts
        for kind in ("u2", "i2", "u4", "i4"):
            if ends.min() >= np.iinfo(kind).min and ends.max() <= np.iinfo(kind).max:
                return np.dtype(kind)
        return np.dtype(np.float32)

    @property
    def groups(self) -> list[Dataset]:
        """Functional groups, first those that all frames share."""
        names = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
        return [item for name in names for item in self.elements.get(name) or []]

    def first(self, keyword: str, count: int) -> Floats | None:
        """(count,) the numbers of an element, of its own or of the first frame; None where there are none."""
        holders: Iterator[Dataset] = (
            item
            for holder in (self.elements, *self.groups)
            for sequence in (*MEASURES, "DetectorInformationSequence")
            for item in holder.get(sequence) or []
        )
        found = (numbers(holder, keyword, count, self.file) for holder in (self.elements, *holders))
        return next((values for values in found if values is not None), None)

    @cached_property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Along x and y, in the patient where the file says so (PS3.3, 10.7.1); None where it says nothing.

        Pixel Spacing; else that on the detector, over the magnification; else that of a scanned film; else that of the
        regions of an ultrasound image, where they agree.
        """
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            spacing = self.first(keyword, 2)  # between rows first
            if spacing is None or spacing.min() <= 0:
                continue
            if keyword == "ImagerPixelSpacing":
                larger = self.first("EstimatedRadiographicMagnificationFactor", 1)
                if larger is not None and larger[0] > 0:
                    spacing = spacing / larger
            return float(spacing[1]), float(spacing[0])
        return self._ultrasound_mm()

    @property
    def is_at_detector(self) -> bool:
        """Whether the spacing is that on the detector: things in the patient are smaller than it says."""
        known = [self.first(keyword, count) for keyword, count in (("PixelSpacing", 2), ("ImagerPixelSpacing", 2))]
        magnified = self.first("EstimatedRadiographicMagnificationFactor", 1)
        return known[0] is None and known[1] is not None and magnified is None

    def _ultrasound_mm(self) -> tuple[float, float] | None:
        """Of the regions that show two dimensions in cm; None if they differ: an image has one spacing."""
        found = []
        for region in self.elements.get("SequenceOfUltrasoundRegions") or []:
            units = [region.get(f"PhysicalUnits{axis}Direction") for axis in "XY"]
            if region.get("RegionSpatialFormat") == TWO_DIMENSIONAL and units == [CM, CM]:
                found.append([numbers(region, f"PhysicalDelta{axis}", 1, self.file) for axis in "XY"])
        if not found or any(delta is None or delta[0] == 0 for pair in found for delta in pair):
            return None
        sizes = np.abs(np.array(found, np.float64).reshape(-1, 2)) * 10
        if np.ptp(sizes, axis=0).max() > SAME_SHARE * sizes.min():
            return None
        return float(sizes[0, 0]), float(sizes[0, 1])

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
        found = self.first(keyword, count)
        if found is None:
            raise ImageError(f"image: expected slices with a known {name}, {self.file} has none")
        return found


def plane_frame(header: DicomHeader) -> Frame:
    """The frame of a single image, or of frames without positions: at 0 where the file does not say where it lies."""
    position, orientation = header.first("ImagePositionPatient", 3), header.first("ImageOrientationPatient", 6)
    axes = np.eye(3)
    if orientation is not None and orientation.any():
        axes = plane_axes(orientation, str(header.file))
    steps = (header.first(keyword, 1) for keyword in ("SpacingBetweenSlices", "SliceThickness"))
    step = next((float(found[0]) for found in steps if found is not None and found[0]), 1.0)
    if step < 0:  # nuclear medicine: against the normal
        axes[2] *= -1
    origin = (0.0, 0.0, 0.0) if position is None else tuple(position.tolist())
    spacing = header.spacing_mm
    return Frame(
        (*(spacing or (1.0, 1.0)), abs(step)), origin, tuple(axes.T.ravel().tolist()), (header.file,),
        has_spacing=spacing is not None,
    )  # fmt: skip


def read_header(file: Path) -> DicomHeader:
    """The header of a DICOM image; NoImageError for another object, ImageError for what is not read."""
    with as_image_error(file):
        elements, syntax, place = read_elements(file)
        kind = UID(elements.get("SOPClassUID") or "").name
        if place is None and "Rows" not in elements and "Image Storage" not in kind:
            raise NoImageError(f"image: expected an image, {file} holds none ({kind or 'of no class'})")
        if place is None:
            raise ValueError("it is cut, or its pixels are none of whole numbers: it has no Pixel Data")
        header = DicomHeader(file.absolute(), elements, syntax, place)
        samples = header.whole("SamplesPerPixel", 1)
        values = 3 if header.is_color else 1
        check_claim(file, header.size, values * header.dtype.itemsize, stored_bits=0)  # blank slices pack to nothing
        if samples not in (1, 3):
            raise ImageError(f"image: expected 1 or 3 values a pixel, {file} has {samples}")
        if header.size[2] > 1 and header.is_color:
            raise ImageError(f"image: {file} has {header.size[2]} frames in colour, expected one image or grey frames")
        if "MOSAIC" in header.text("ImageType").upper():
            raise ImageError(
                f"image: {file} is a mosaic: the slices of a volume side by side in one picture; "
                "convert it to a series or to NIfTI first, for example by dcm2niix"
            )
    return header
