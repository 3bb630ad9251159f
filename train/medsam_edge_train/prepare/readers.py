"""Reads the values of a pair's image and labels. A damaged or too large file gives an ImageError at little cost."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from medsam_edge.errors import ImageError
from medsam_edge.reading.itk import itk_path
from medsam_edge.reading.limits import MAXIMUM_PIXELS
from medsam_edge.reading.medical import layout_of, read_volume
from medsam_edge.reading.npz import read_array
from medsam_edge.reading.read import read_image
from medsam_edge.reading.suffixes import PICTURE_SUFFIXES
from medsam_edge.reading.unreadable import as_image_error
from medsam_edge_train.prepare.sources import VOLUME_SUFFIXES, Pair, series_files

Labels = npt.NDArray[np.uint16]

DIRECTION_TOLERANCE = 0.01  # of direction cosines


def read_labels(pair: Pair) -> Labels:
    """The label map of a pair, (H, W), or (D, H, W) of a volume.

    Raises:
        ImageError: the file is unreadable or too large, or its values are not whole numbers 0 to 65535 in one channel.
    """
    with as_image_error(pair.label):
        if pair.label.suffix.lower() == ".npz":
            labels = _read_npz(pair.label, "gts")
        elif pair.label.name.lower().endswith(PICTURE_SUFFIXES):
            labels = _grey_if_equal(read_image(pair.label).pixels)
        else:
            labels, _ = _read_volume([pair.label])
            if pair.is_picture and labels.shape[0] == 1:
                labels = labels[0]
        if labels.ndim != 2 and (labels.ndim != 3 or pair.is_picture):
            raise ImageError(f"labels: expected one value a pixel, got shape {labels.shape}")
        if labels.dtype.kind not in "buif" or labels.size == 0:
            raise ImageError(f"labels: expected numbers, got {labels.dtype} of shape {labels.shape}")
        if not (labels.min() >= 0 and labels.max() <= np.iinfo(np.uint16).max):
            raise ImageError(f"labels: expected 0 to 65535, got {labels.min()} to {labels.max()}")
        whole = labels.astype(np.uint16)
        if labels.dtype.kind == "f" and not np.array_equal(whole, labels):
            raise ImageError("labels: expected whole numbers")
        return whole


def read_pixels(pair: Pair, labels: Labels) -> npt.NDArray[Any]:
    """The image of a pair in the values of the file: the shape of the labels, or (H, W, 3) RGB in colour.

    Raises:
        ImageError: the file is unreadable or too large, or differs from the labels in size or orientation.
    """
    with as_image_error(pair.image):
        if pair.image.suffix.lower() == ".npz":
            pixels = _read_npz(pair.image, "imgs")
        elif pair.is_picture:
            pixels = read_image(pair.image).pixels
        else:
            pixels, direction = _read_volume(series_files(pair.image) if pair.image.is_dir() else [pair.image])
            _check_direction(direction, pair.label)
    if labels.ndim == 2:
        pixels = _grey_if_equal(pixels)
    if pixels.shape not in (labels.shape, (*labels.shape, 3)) or pixels.ndim > 3:
        raise ImageError(f"image is {pixels.shape}, its labels {labels.shape}")
    return pixels


def _read_volume(files: list[Path]) -> tuple[npt.NDArray[Any], tuple[float, ...]]:
    """(D, H, W) values of a file or of the slices of a DICOM series, and the direction cosines of the axes."""
    if files[0].name.lower().endswith(VOLUME_SUFFIXES):
        values, frame = read_volume(files[0])
        if values.ndim != len(frame.spacing_mm):
            raise ImageError(f"expected one value a voxel, got shape {values.shape}")
        return values, frame.direction
    header = sitk.ImageFileReader()
    header.SetFileName(itk_path(files[0]))
    header.ReadImageInformation()
    if math.prod(header.GetSize()) * len(files) > MAXIMUM_PIXELS:
        raise ImageError(f"expected at most {MAXIMUM_PIXELS} voxels, got {header.GetSize()} x {len(files)}")
    if header.GetNumberOfComponents() != 1:
        raise ImageError(f"expected one value a voxel, got {header.GetNumberOfComponents()}")
    series = sitk.ImageSeriesReader()
    series.SetFileNames([itk_path(file) for file in files])
    image = header.Execute() if len(files) == 1 else series.Execute()
    return sitk.GetArrayFromImage(image), image.GetDirection()


def _check_direction(direction: tuple[float, ...], label: Path) -> None:
    """Raise ImageError if the axes differ: a flipped label map has the right size but covers the wrong organs."""
    frame = layout_of(label).frame
    if len(frame.direction) != len(direction):
        raise ImageError(f"image has {math.isqrt(len(direction))} dimensions, its labels {len(frame.spacing_mm)}")
    if not np.allclose(frame.direction, direction, rtol=0, atol=DIRECTION_TOLERANCE):
        raise ImageError("image and labels have different axis directions")


def _read_npz(file: Path, name: str) -> npt.NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        return read_array(archive, name, file)


def _grey_if_equal(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(H, W) of an (H, W, 3) image with three equal channels; other images unchanged."""
    if pixels.ndim == 3 and pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    return pixels
