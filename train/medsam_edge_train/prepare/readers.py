"""Reads the values of a pair's image and labels. A damaged or too large file gives an ImageError at little cost."""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.intensity import Padding
from medsam_edge.reading.medical import layout_of, read_volume
from medsam_edge.reading.npz import read_array
from medsam_edge.reading.picture import read_indices
from medsam_edge.reading.read import read_image
from medsam_edge.reading.suffixes import PICTURE_SUFFIXES
from medsam_edge.reading.unreadable import as_image_error
from medsam_edge_train.prepare.sources import JPEG_SUFFIXES, Pair

Labels = npt.NDArray[np.uint16]

DIRECTION_TOLERANCE = 0.01  # of direction cosines
WHOLE_TOLERANCE = 1e-3  # of a label that a writer scaled: 1 may come back as 1.000015
MANY_VALUES = 8
"""With so few label values, thin objects are no reason to refuse them."""
WHITE, BLOCK = 128, 8
"""The lowest value of an object in a black and white mask, and the side of a JPEG's blocks."""


def read_labels(pair: Pair) -> Labels:
    """The label map of a pair, (H, W), or (D, H, W) of a volume. The indices of a palette of colours are the labels.

    Raises:
        ImageError: the file is unreadable or too large, its values are not whole numbers 0 to 65535 in one channel, or
            most are those of edges, as `without_blurred_edges` says.
    """
    with as_image_error(pair.label):
        if pair.label.suffix.lower() == ".npz":
            labels = _read_npz(pair.label, "gts")
        elif pair.label.name.lower().endswith(PICTURE_SUFFIXES):
            indices = read_indices(pair.label)
            labels = _grey_if_equal(_read_picture(pair.label)) if indices is None else indices
        else:
            labels, _ = _read_medical(pair.label)
            if pair.is_picture and labels.shape[0] == 1:
                labels = labels[0]
        if labels.ndim != 2 and (labels.ndim != 3 or pair.is_picture):
            raise ImageError(f"labels: expected one value a pixel, got shape {labels.shape}")
        if labels.dtype.kind not in "buif" or labels.size == 0:
            raise ImageError(f"labels: expected numbers, got {labels.dtype} of shape {labels.shape}")
        if not (labels.min() >= -WHOLE_TOLERANCE and labels.max() <= np.iinfo(np.uint16).max):
            raise ImageError(f"labels: expected 0 to 65535, got {labels.min()} to {labels.max()}")
        whole = (np.rint(labels) if labels.dtype.kind == "f" else labels).astype(np.uint16)
        if labels.dtype.kind == "f" and not np.allclose(whole, labels, rtol=0, atol=WHOLE_TOLERANCE):
            raise ImageError(
                "labels: expected whole numbers; were they interpolated? Resize labels by nearest neighbour"
            )
        whole = without_blurred_edges(whole)
        if pair.label.name.lower().endswith(JPEG_SUFFIXES) and len(np.unique(whole[whole > 0])) > 1:
            raise ImageError("labels: expected one object, or values as they were drawn: a JPEG changes them")
        return whole


def read_pixels(pair: Pair, labels: Labels) -> npt.NDArray[Any]:
    """The pixels of `read_with_padding` alone."""
    return read_with_padding(pair, labels)[0]


def read_with_padding(pair: Pair, labels: Labels) -> tuple[npt.NDArray[Any], Padding | None]:
    """The image of a pair in the values of the file: the shape of the labels, or (H, W, 3) RGB in colour. Also the
    values that a DICOM header says were not measured.

    Raises:
        ImageError: the file is unreadable or too large, or differs from the labels in size or orientation.
    """
    padding = None
    with as_image_error(pair.image):
        if pair.image.suffix.lower() == ".npz":
            pixels = _read_npz(pair.image, "imgs")
        elif pair.is_picture:
            loaded = read_image(pair.image)
            pixels, padding = loaded.pixels, loaded.padding
        else:
            if pair.image.is_dir():
                pixels, direction, padding = _read_series(pair.image)
            else:
                pixels, direction = _read_medical(pair.image)
            _check_direction(direction, pair.label)
    if labels.ndim == 2:
        pixels = _grey_if_equal(pixels)
    if pixels.shape not in (labels.shape, (*labels.shape, 3)) or pixels.ndim > 3:
        raise ImageError(f"image is {pixels.shape}, its labels {labels.shape}")
    return pixels, padding


def _read_picture(file: Path) -> npt.NDArray[Any]:
    """The values of a picture of labels. What `read_image` drops with a warning, alpha, could be the mask."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return read_image(file).pixels
        except UserWarning as warning:
            raise ImageError(
                "labels: expected a mask without an alpha channel, or with one that is opaque"
            ) from warning


def _read_medical(file: Path) -> tuple[npt.NDArray[Any], tuple[float, ...]]:
    """(D, H, W) or (H, W) values of a file, and the direction cosines of the axes."""
    values, frame = read_volume(file)
    if values.ndim != len(frame.spacing_mm):
        raise ImageError(f"expected one value a voxel, got shape {values.shape}")
    return values, frame.direction


def _read_series(folder: Path) -> tuple[npt.NDArray[Any], tuple[float, ...], Padding | None]:
    """(D, H, W) values of a DICOM series, as `segment` reads them, the direction cosines of the axes, the padding."""
    loaded = read_image(folder)
    if loaded.color or loaded.frame is None:
        raise ImageError(f"expected one value a voxel, got shape {loaded.pixels.shape}")
    pixels = loaded.pixels if loaded.pixels.ndim == 3 else loaded.pixels[None]
    return pixels, loaded.frame.direction, loaded.padding


def without_blurred_edges(labels: Labels) -> Labels:
    """A mask of one object that was a JPEG or was resized, cut at half its value; other labels as they are.

    Values of a blurred edge have no pixel whose four neighbours are alike. Labels (H, W) are such a mask if all values
    but one have none, that one is at least 128, as in black and white, and the others lie within a JPEG's block of it.

    Raises:
        ImageError: most values are those of edges, and it is no mask of one object.
    """
    seen, inside = (np.zeros(np.iinfo(np.uint16).max + 1, dtype=bool) for _ in range(2))
    planes = labels.reshape(-1, *labels.shape[-2:])
    for plane in planes:
        seen[plane] = True
    values = 1 + np.flatnonzero(seen[1:])
    if len(values) < 2:
        return labels
    for plane in planes:
        centre = plane[1:-1, 1:-1]
        same = (centre == plane[:-2, 1:-1]) & (centre == plane[2:, 1:-1])
        same &= (centre == plane[1:-1, :-2]) & (centre == plane[1:-1, 2:])
        inside[centre[same]] = True
    objects = values[inside[values]]
    thin = len(values) - len(objects)
    if labels.ndim == 2 and len(objects) == 1 and objects[0] >= WHITE:
        around = cv2.dilate((labels == objects[0]).astype(np.uint8), np.ones((2 * BLOCK + 1,) * 2, np.uint8))
        edges = (labels > 0) & (labels != objects[0])
        if np.count_nonzero(edges & (around == 0)) <= 0.01 * np.count_nonzero(edges):
            return np.where(labels > objects[0] / 2, objects[0], 0).astype(np.uint16)
    if len(values) > MANY_VALUES and 2 * thin > len(values):
        raise ImageError(
            f"labels: expected objects, {thin} of {len(values)} values lie on edges alone: the mask was a JPEG, or was "
            "resized with interpolation; use the mask as it was drawn"
        )
    return labels


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
