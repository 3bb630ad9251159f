"""DICOM images and series: first the headers, then whether the planes make a volume, last the pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from medsam_edge.errors import ImageError
from medsam_edge.image import LoadedImage
from medsam_edge.reading.dicom.elements import NoImageError
from medsam_edge.reading.dicom.frames import DicomHeader, load, quiet, read_header
from medsam_edge.reading.dicom.geometry import SAME, plane_axes, stack_frame
from medsam_edge.reading.dicom.preamble import is_dicom
from medsam_edge.reading.limits import check_size


def read_dicom(file: Path) -> LoadedImage:
    """A DICOM image: (H, W) grey or (H, W, 3) RGB; of several grey frames (D, H, W), in the order of the file.

    Values are rescaled (CT in HU): integers where they can be, else float32. MONOCHROME1 is turned round on the
    stored range, so that white is high as in every other image, but not in CT and PET, whose values are measures.
    Frames with positions must lie one behind the other at equal distances; frames without (films) are taken as
    slices at the spacing that SimpleITK assumes.

    Raises:
        ImageError: unreadable, too large, no image, several colour frames, or frames that are no volume.
    """
    with quiet():
        return load(read_header(file))


def read_series(folder: Path) -> LoadedImage:
    """The one series in a folder, (D, H, W), its slices sorted by their positions along the normal; a single slice is
    read as `read_dicom` does.

    Other files, subfolders, DICOMDIR and DICOM objects that are no images are passed over. Each slice has its own
    rescale. The distance of slices comes from their positions.

    Raises:
        ImageError: no image or several series; slices of different size, orientation, spacing or kind, in colour, of
            several frames, without or in the same position, at unequal distances, or shifted sideways; too large.
    """
    with quiet():
        headers = _headers(folder)
        _check_one_series(folder, headers)
        return load(headers[0]) if len(headers) == 1 else _stacked(folder, headers)


def _headers(folder: Path) -> list[DicomHeader]:
    headers = []
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith(".") and (file.suffix.lower() == ".dcm" or is_dicom(file)):
            with suppress(NoImageError):
                headers.append(read_header(file))
    return headers


def _stacked(folder: Path, headers: list[DicomHeader]) -> LoadedImage:
    _check_alike(headers)
    axes = plane_axes(headers[0].orientation, headers[0].file.name)
    headers = sorted(headers, key=lambda header: float(header.position @ axes[2]))
    first = headers[0]
    check_size(folder, (*first.size[:2], len(headers)))
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
        for name, numbers, others in (
            ("pixel spacing (x, y)", header.spacing_mm, first.spacing_mm),
            ("orientation", tuple(header.orientation.tolist()), tuple(first.orientation.tolist())),
        ):
            if not np.allclose(numbers, others, rtol=0, atol=SAME):
                raise _unlike(name, header, numbers, first, others)


def _unlike(name: str, header: DicomHeader, own: object, first: DicomHeader, other: object) -> ImageError:
    return ImageError(
        f"image: expected slices of one {name}, {first.file.name} has {other}, {header.file.name} has {own}"
    )
