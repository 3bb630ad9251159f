"""Turns an image or volume with labels into what is stored: chosen slices, 8 bits, network size, png or jpg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError
from medsam_edge.geometry import Geometry
from medsam_edge.intensity import Window, to_display
from medsam_edge.modality import Modality

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint16]
Positions = npt.NDArray[np.intp]


def label_values(labels: Labels) -> npt.NDArray[np.intp]:
    """Values above 0 of an (H, W) or (D, H, W) label map, in rising order."""
    seen = np.zeros(np.iinfo(np.uint16).max + 1, dtype=bool)
    for plane in labels.reshape(-1, *labels.shape[-2:]):  # plane by plane, because numpy makes indices of 8 bytes
        seen[plane] = True
    return 1 + np.flatnonzero(seen[1:])


def drop_small_objects(labels: Labels, minimum: int) -> Labels:
    """Remove connected parts of one value that have fewer than `minimum` pixels or voxels; corners connect.

    A stray pixel far from its organ would stretch the organ's box. The challenge's data preparation removes them too.

    Args:
        labels: (H, W) or (D, H, W).

    Returns:
        A copy without the small parts; the same array if there is nothing to remove.
    """
    kept = labels
    for value, box in zip(label_values(labels), boxes_from_masks(labels).astype(int), strict=True):
        low, high = box[: labels.ndim][::-1], box[labels.ndim :][::-1]
        crop = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
        numbers = _number_parts((labels[crop] == value).astype(np.uint8))
        small = np.bincount(numbers.ravel()) < minimum
        small[0] = False  # background
        if small.any():
            kept = labels.copy() if kept is labels else kept
            kept[crop][small[numbers]] = 0
    return kept


def _number_parts(mask: Pixels) -> npt.NDArray[Any]:
    """Number the connected parts of an (H, W) or (D, H, W) mask 1, 2, …; OpenCV is much faster in 2D."""
    if mask.ndim == 2:
        return cv2.connectedComponents(mask, connectivity=8)[1]
    parts: npt.NDArray[Any] = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask), True))
    return parts


def choose_slices(labels: Labels, interval: int, beyond: int = 0) -> Positions:
    """Every `interval`-th labelled slice of a volume, centred: as many are left out before the first as after the last.

    Args:
        labels: (D, H, W).
        beyond: number of slices before the first and after the last labelled one that are chosen too.

    Returns:
        Positions along the first axis, in rising order; at least one unless no slice is labelled.
    """
    labelled = np.flatnonzero([plane.any() for plane in labels])
    chosen = labelled[max(0, len(labelled) - 1) % interval // 2 :: interval]
    if len(labelled):
        outside = np.concatenate([labelled[0] - 1 - np.arange(beyond), labelled[-1] + 1 + np.arange(beyond)])
        chosen = np.union1d(chosen, outside[(outside >= 0) & (outside < len(labels))])
    return chosen


def display_slices(volume: npt.NDArray[Any], chosen: Positions, modality: Modality, window: Window) -> Pixels:
    """Slices of a volume in 8 bits, by the sdk's rule for the modality.

    Percentiles are those of the whole volume, as in the challenge's data preparation, and not of each slice.

    Args:
        volume: (D, H, W).
        chosen: (K,) positions along the first axis.
        window: level and width in HU of CT that is not uint8.

    Returns:
        (K, H, W) uint8.

    Raises:
        ImageError: a value is not a finite real number.
    """
    if modality is Modality.CT or volume.dtype == np.uint8:  # slices do not depend on each other
        volume, chosen = volume[chosen], np.arange(len(chosen))
    rows = volume.reshape(-1, volume.shape[-1])
    return display(rows, modality, window).reshape(volume.shape)[chosen]


def display(image: npt.NDArray[Any], modality: Modality, window: Window) -> Pixels:
    """`to_display`, with the window only for CT in HU (CT that is not uint8)."""
    return to_display(image, modality, window if modality is Modality.CT and image.dtype != np.uint8 else None)


def shrink(image: Pixels, labels: Labels, longest: int) -> tuple[Pixels, Labels]:
    """Shrink image (H, W) or (H, W, 3) and labels (H, W) to a longest side of `longest`, by the network's geometry."""
    if max(labels.shape) <= longest:
        return image, labels
    geometry = Geometry.of(labels.shape, longest)
    size = (geometry.new_width, geometry.new_height)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small, cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint16, copy=False)


def encode(image: npt.NDArray[Any]) -> bytes:
    """(H, W) uint8 or uint16, or (H, W, 3) RGB uint8 → png."""
    return _encode(image, ".png", ())


def encode_jpeg(image: Pixels, quality: int) -> bytes:
    """(H, W) or (H, W, 3) RGB uint8 → jpg of a quality from 1 to 100."""
    return _encode(image, ".jpg", (cv2.IMWRITE_JPEG_QUALITY, quality))


def _encode(image: npt.NDArray[Any], suffix: str, settings: Sequence[int]) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image, settings)
    if not done:
        raise ImageError(f"image: OpenCV cannot encode {image.dtype} of shape {image.shape}")
    return data.tobytes()
