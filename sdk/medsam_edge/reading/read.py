"""Read an image from a file of any kind. SimpleITK is imported for medical files only, and pydicom for DICOM."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medsam_edge.errors import FileMissingError, ImageError, InputError
from medsam_edge.image import LoadedImage
from medsam_edge.reading.dicom.preamble import is_dicom
from medsam_edge.reading.limits import check_size
from medsam_edge.reading.medical import read_medical
from medsam_edge.reading.memory import from_memory
from medsam_edge.reading.npz import read_npz
from medsam_edge.reading.palette import read_label_png
from medsam_edge.reading.picture import read_picture
from medsam_edge.reading.suffixes import MEDICAL_SUFFIXES, PICTURE_SUFFIXES
from medsam_edge.reading.unreadable import as_image_error


def read_image(path: str | os.PathLike[str], series: str | None = None, *, exif_rotation: bool = True) -> LoadedImage:
    """Read an image: png jpg tif bmp; a DICOM image, or a folder with one series; a NIfTI, NRRD or MetaImage slice or
    volume; a challenge npz.

    A file holds one picture, page or volume, of at most 2 GiB of values (`medsam_edge.reading.limits`). Not read are
    animations, several pages or stacks in one, channels that are no colours, series of volumes, complex values,
    NIfTI-2, Analyze and NIfTI pairs, NRRD with its values in another file, and values written as text. NaN and infinite
    values are returned unchanged; segmenting refuses them.

    Args:
        path: of the file or the folder. A folder without images of its own may have the series in a folder below.
        series: Series Instance UID of the one that is meant, where a folder has several.
        exif_rotation: whether a jpg that says how the camera was held is turned upright, as viewers show it. Without,
            pixels and boxes are as stored, as annotation tools that ignore EXIF count them.

    Raises:
        InputError: a series that the folder does not have, or of what is no folder.
        FileMissingError: there is no such file.
        ImageError: the file is unreadable, of an unknown kind, too large, or neither a picture nor a volume.
    """
    return _read(Path(path), False, exif_rotation, series)


def load_image(image: Any, reduced_jpeg: bool = False, exif_rotation: bool = True) -> LoadedImage:
    """What `Segmenter` takes: an array, a tensor, a SimpleITK, PIL or nibabel image, a pydicom data set with pixels, a
    file's path, its bytes or the open file, or an image that is loaded already.

    Args:
        reduced_jpeg: read a large JPEG file at a fraction of its size; `LoadedImage.whole` is then the whole one.
        exif_rotation: as for `read_image`.

    Raises:
        ImageError, FileMissingError: something else, or what `read_image` refuses.
    """
    if isinstance(image, LoadedImage):
        return image
    if isinstance(image, (str, os.PathLike)):
        return _read(Path(image), reduced_jpeg, exif_rotation)
    if type(image).__module__.startswith("SimpleITK"):
        from medsam_edge.reading.itk import from_simpleitk

        return from_simpleitk(image)
    if isinstance(image, np.ndarray):
        check_size("the array", image.shape[:2] if image.shape[2:] == (3,) else image.shape)
        return LoadedImage(image)
    return from_memory(image, lambda file: _read(file, reduced_jpeg, exif_rotation))


def _read(file: Path, reduced: bool, exif_rotation: bool, series: str | None = None) -> LoadedImage:
    started = time.perf_counter()
    with as_image_error(file):
        if not file.is_file() and not file.is_dir():
            raise FileMissingError(f"image: no such file: {file}")
        if series is not None and not file.is_dir():
            raise InputError(f"series: is for a folder, got {file}")
        loaded = _read_kind(file, reduced, exif_rotation, series)
    shape, dtype = loaded.pixels.shape, loaded.pixels.dtype
    if dtype.kind not in "buif" or loaded.pixels.size == 0 or len(shape) not in (2, 3):
        raise ImageError(f"image: expected numbers, two or three dimensions, {file} has {dtype} of shape {shape}")
    loaded.pixels.setflags(write=False)  # nobody else has them: an embedding may keep them without a copy
    return replace(loaded, read_ms=(time.perf_counter() - started) * 1e3)


def _read_kind(file: Path, reduced: bool, exif_rotation: bool, series: str | None) -> LoadedImage:
    name = file.name.lower()
    if file.is_dir():
        from medsam_edge.reading.dicom.series import read_series

        return read_series(file, series)
    if name.endswith(".png") and (labels := read_label_png(file)) is not None:
        return LoadedImage(labels, color=False)
    if name.endswith(PICTURE_SUFFIXES):
        return read_picture(file, reduced, exif_rotation)
    if name.endswith(".npz"):
        return read_npz(file)
    if name.endswith(".dcm") or is_dicom(file):
        from medsam_edge.reading.dicom.series import read_dicom

        return read_dicom(file)
    if name.endswith(MEDICAL_SUFFIXES):
        return read_medical(file)
    known = " ".join((*PICTURE_SUFFIXES, *MEDICAL_SUFFIXES, ".npz"))
    raise ImageError(f"image: expected one of {known}, got {file.name}")
