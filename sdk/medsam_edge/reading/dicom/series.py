"""DICOM images and series: first the headers, then whether the planes make a volume, last the pixels."""

from __future__ import annotations

import os
import threading
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from medsam_edge.errors import ImageError, InputError, warn
from medsam_edge.image import LoadedImage
from medsam_edge.reading.dicom.elements import NoImageError
from medsam_edge.reading.dicom.geometry import SAME, functional_frame, plane_axes, stack_frame
from medsam_edge.reading.dicom.header import DicomHeader, plane_frame, read_header
from medsam_edge.reading.dicom.pixels import read_values
from medsam_edge.reading.dicom.preamble import is_dicom
from medsam_edge.reading.limits import check_size

_switches = threading.Lock()


def read_dicom(file: Path) -> LoadedImage:
    """A DICOM image: (H, W) grey or (H, W, 3) RGB; of several grey frames (D, H, W).

    Values are rescaled (CT in HU): integers where they can be, else float32. MONOCHROME1 is turned round on the
    stored range, so that white is high as in every other image, but not in CT and PET, whose values are measures.
    Frames with positions must lie one behind the other at equal distances, and are sorted if they are stored in
    disorder; frames without (films) stay in the order of the file.
    """
    with _quiet():
        return load(read_header(file))


def read_series(folder: Path, series: str | None = None) -> LoadedImage:
    """The one series in a folder, (D, H, W), its slices sorted by their positions along the normal; a single slice is
    read as `read_dicom` does.

    Other files, DICOMDIR and DICOM objects that are no images are passed over. Of a folder without images all
    subfolders are searched; of others none. Each slice has its own rescale. ImageError unless there is one series, or
    one of the UID `series`, and its slices are alike, grey, and make one regular volume.
    """
    with _quiet():
        headers = _one_series(folder, _headers(folder), series)
        return load(headers[0]) if len(headers) == 1 else _stacked(folder, headers)


def _headers(folder: Path) -> list[DicomHeader]:
    """Of the images in a folder, or else in the folders below it; links to folders are not followed."""
    for paths in ([folder], (Path(root) for root, *_ in os.walk(folder))):
        headers = []
        for path in paths:
            for file in sorted(path.iterdir()):
                if file.name[0] != "." and file.is_file() and (file.suffix.lower() == ".dcm" or is_dicom(file)):
                    with suppress(NoImageError):
                        headers.append(read_header(file))
        if headers:
            return headers
    raise ImageError(f"image: expected a DICOM series, the folder {folder} has no DICOM image")


def _stacked(folder: Path, headers: list[DicomHeader]) -> LoadedImage:
    _check_alike(headers)
    axes = plane_axes(headers[0].orientation, headers[0].file.name)
    headers = sorted(headers, key=lambda header: float(header.position @ axes[2]))
    first = headers[0]
    check_size(folder, (*first.size[:2], len(headers)), max(header.dtype.itemsize for header in headers))
    positions = np.stack([header.position for header in headers])
    files = tuple(header.file for header in headers)
    frame = stack_frame([file.name for file in files], positions, axes, _spacing(first), files)
    kind = np.result_type(*(header.dtype for header in headers))
    volume = np.empty((len(headers), first.size[1], first.size[0]), np.float32 if kind.kind == "f" else kind)
    for target, header in zip(volume, headers, strict=True):
        target[:] = load(header).pixels
    return LoadedImage(volume, frame, first.modality, color=False)


def _one_series(folder: Path, headers: Sequence[DicomHeader], series: str | None) -> list[DicomHeader]:
    """The images of the series chosen, or of the only one."""
    of: dict[str, list[DicomHeader]] = defaultdict(list)
    for header in headers:
        of[header.text("SeriesInstanceUID")].append(header)
    if series is None and len(of) == 1:
        return list(headers)
    if series in of:
        return of[series]
    found = ", ".join(
        f"{members[0].text('SeriesDescription') or 'unnamed'!r} ({len(members)} slices, UID {uid or 'none'})"
        for uid, members in of.items()
    )
    if series is not None:
        raise InputError(f"series: expected the UID of a series in {folder}, got {series!r}; there are: {found}")
    raise ImageError(
        f"image: expected one series, {folder} has {len(of)}: {found}; "
        "choose one by its UID (series=, --series), or give a folder that holds only one"
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
            ("pixel spacing (x, y)", _spacing(header), _spacing(first)),
            ("orientation", tuple(header.orientation.tolist()), tuple(first.orientation.tolist())),
        ):
            if not np.allclose(mine, theirs, rtol=0, atol=SAME):
                raise _unlike(name, header, mine, first, theirs)


def _spacing(header: DicomHeader) -> tuple[float, float]:
    if header.spacing_mm is None:
        raise ImageError(f"image: expected slices with a known pixel spacing (Pixel Spacing), {header.file} has none")
    return header.spacing_mm


def _unlike(name: str, header: DicomHeader, own: object, first: DicomHeader, other: object) -> ImageError:
    return ImageError(
        f"image: expected slices of one {name}, {first.file.name} has {other}, {header.file.name} has {own}"
    )


def load(header: DicomHeader) -> LoadedImage:
    """Read the pixels; ImageError for frames that are no volume."""
    frames = header.size[2]
    frame = functional_frame(header.groups, frames, header.file) if frames > 1 else None
    frame = frame or plane_frame(header)
    if header.is_at_detector:
        warn(f"image: {header.file.name} has the size of a pixel on the detector only; in the patient it is smaller")
    pixels = read_values(header)
    if frame.dicom_frames:
        pixels = pixels[list(frame.dicom_frames)]
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
