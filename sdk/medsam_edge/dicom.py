"""DICOM files, read through SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medsam_edge.errors import ImageError, ModalityError
from medsam_edge.image import LoadedImage
from medsam_edge.medical import check_size, from_simpleitk, unreadable
from medsam_edge.modality import Modality


def is_dicom(file: Path) -> bool:
    """Whether the file has DICOM's preamble."""
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_dicom(file: Path) -> LoadedImage:
    """One DICOM slice.

    Raises:
        ImageError: unreadable, too large, or of several frames.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
        check_size(file, reader.GetSize())
        if reader.GetDimension() > 2 and reader.GetSize()[2] > 1:
            raise ImageError(
                f"image: expected one slice, {file} has {reader.GetSize()[2]}; DICOM volumes are not read yet"
            )
        loaded = from_simpleitk(reader.Execute(), str(file))
    except RuntimeError as error:
        raise unreadable(file, error) from error
    pixels = loaded.pixels
    if _tag(reader, "0028|0004") == "MONOCHROME1" and pixels.ndim == 2:
        pixels = pixels.max() + pixels.min() - pixels  # stored with white as zero
    return LoadedImage(pixels, loaded.frame, _modality(_tag(reader, "0008|0060")))


def _tag(reader: Any, key: str) -> str:
    return str(reader.GetMetaData(key)).strip() if reader.HasMetaDataKey(key) else ""


def _modality(code: str) -> Modality | None:
    try:
        return Modality.parse(code or None)
    except ModalityError:
        return None
