"""Masks and boxes drawn over an image."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.results.mask import CroppedMask

FILL_OPACITY = 0.35


def draw_objects(
    display: npt.NDArray[np.uint8],
    masks: Iterable[tuple[int, CroppedMask]],
    boxes: Iterable[tuple[int, npt.NDArray[np.float32]]],
) -> npt.NDArray[np.uint8]:
    """The image with the masks and boxes of objects, each in the colour of its number."""
    picture = np.array(display if display.ndim == 3 else cv2.cvtColor(display, cv2.COLOR_GRAY2RGB), np.uint8, order="C")
    thickness = max(1, round(max(picture.shape) / 600))
    for index, mask in masks:
        _draw_mask(picture, mask, color(index), thickness)
    for index, box in boxes:
        x0, y0, x1, y1 = np.rint(box).clip(-thickness, 2 * max(picture.shape)).astype(int).tolist()
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), color(index), thickness)
    return picture


def color(index: int) -> tuple[int, int, int]:
    """RGB of object `index`: hues apart by the golden ratio, so that neighbours differ."""
    hue = np.array([[[(index * 0.618034 + 0.36) % 1.0 * 179, 190, 255]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return int(red), int(green), int(blue)


def _draw_mask(picture: npt.NDArray[np.uint8], mask: CroppedMask, rgb: tuple[int, int, int], thickness: int) -> None:
    region = picture[mask.where]
    tinted = region[mask.pixels] * (1 - FILL_OPACITY) + np.array(rgb) * FILL_OPACITY
    region[mask.pixels] = np.rint(tinted).astype(np.uint8)
    outlines, _ = cv2.findContours(
        mask.pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(mask.left, mask.top)
    )
    cv2.drawContours(picture, outlines, -1, rgb, thickness)
