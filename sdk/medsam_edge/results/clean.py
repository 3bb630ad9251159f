"""Masks as people want them: one piece, without holes, inside the box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.settings import Clean

Result = TypeVar("Result", bound=Segmentation | VolumeSegmentation)
Bools = npt.NDArray[np.bool_]


def cleaned(result: Result, how: Clean) -> Result:
    """A result whose masks are cleaned, see `Segmenter.segment`; objects that were clicked on stay as they are."""
    if how == "none":
        return result
    masks: list[Any] = list(result.masks)
    for index, mask in enumerate(masks):
        clicked = bool(result.clicks) and len(result.clicks[index]) > 0
        if not clicked and isinstance(result, VolumeSegmentation):
            masks[index] = _clean_volume(mask, result, index, how)
        elif not clicked:
            masks[index] = _clean_plane(mask, result.boxes[index], how)
    changes: dict[str, Any] = {"masks": tuple(masks)}
    return replace(result, **changes)


def _clean_plane(mask: CroppedMask, box: npt.NDArray[np.float32], how: Clean) -> CroppedMask:
    if mask.empty:
        return mask
    pixels = mask.pixels & _inside(box, mask.top, mask.left, mask.pixels.shape) if how == "box" else mask.pixels
    if not pixels.any():
        return mask
    return CroppedMask(mask.top, mask.left, _without_holes(_largest_piece(pixels)))


def _clean_volume(
    masks: Mapping[int, CroppedMask], result: VolumeSegmentation, index: int, how: Clean
) -> dict[int, CroppedMask]:
    """The largest piece of the whole object; holes are filled slice by slice."""
    there = {z: mask for z, mask in masks.items() if not mask.empty}
    if not there:
        return dict(masks)
    top, left = (min(getattr(mask, side) for mask in there.values()) for side in ("top", "left"))
    bottom = max(mask.where[0].stop for mask in there.values())
    right = max(mask.where[1].stop for mask in there.values())
    first, last = min(there), max(there)
    object_ = np.zeros((last - first + 1, bottom - top, right - left), dtype=bool)
    for z, mask in there.items():
        object_[z - first][mask.moved(-top, -left).where] = mask.pixels
    if how == "box":
        across = [column for column in range(3) if column != 2 - result.axis]
        box = result.boxes[index]
        object_ &= _inside(box[[*across, *(3 + column for column in across)]], top, left, object_.shape[1:])
        low, high = box[2 - result.axis], box[5 - result.axis]
        object_[[not (z + 1 > low and z < high) for z in range(first, last + 1)]] = False
    if not object_.any():
        return dict(masks)
    object_ = _largest_piece(object_)
    return {
        z: CroppedMask(top, left, _without_holes(object_[z - first])) if z in there else mask
        for z, mask in masks.items()
    }


def _inside(box: npt.NDArray[np.float32], top: int, left: int, shape: tuple[int, ...]) -> Bools:
    """(h, w), whether pixels meet the box, x0, y0, x1, y1; a mask without a box has no limits."""
    if np.isnan(box).any():
        return np.ones(shape, dtype=bool)
    rows, columns = np.arange(top, top + shape[0]), np.arange(left, left + shape[1])
    across = (columns + 1 > box[0]) & (columns < box[2])
    return np.asarray(((rows + 1 > box[1]) & (rows < box[3]))[:, None] & across)


def _largest_piece(pixels: Bools) -> Bools:
    """Of pieces that touch, also at corners; (H, W) or (D, H, W)."""
    if pixels.ndim == 2:
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
        return np.asarray(labels == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax()))
    import SimpleITK as sitk  # here: pictures need none of it

    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(pixels.astype(np.uint8)), True)
    labels = sitk.GetArrayViewFromImage(pieces)
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()))


def _without_holes(pixels: Bools) -> Bools:
    """Background that does not reach the edge through sides becomes object; (H, W)."""
    around = np.pad(~pixels, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(around, connectivity=4)
    return np.asarray(labels != labels[0, 0])[1:-1, 1:-1]
