"""How a mask prompts the next slice: the corrected rule, and the published one with its quirks, for parity checks.

A rule turns boxes and masks into prompts in network pixels. It decodes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from medsam_edge.errors import InputError
from medsam_edge.geometry import FloatArray, Geometry
from medsam_edge.results.mask import CroppedMask
from medsam_edge.settings import Compat

NARROWING = 0.5
"""How far a whole object's box is narrowed, on a slice, to the section of the ellipsoid inscribed in it: 0 to 1."""
MARGIN = 3
"""Network pixels by which a mask's bounding box grows before it prompts the next slice (LiteMedSAM, Rep-MedSAM)."""


class Rule(Protocol):
    """How boxes of an image, and masks of the slice before, become prompts.

    Attributes:
        enlarging: OpenCV's interpolation of slices smaller than the network's square.
        everywhere: whether masks are looked for in the whole image.
    """

    enlarging: int
    everywhere: bool

    def check_count(self, boxes: int) -> None:
        """Raise InputError for more boxes than the rule can number."""
        ...

    def start(self, boxes: FloatArray, geometry: Geometry) -> FloatArray:
        """(N, 4) boxes in image pixels → (N, 4) prompts in network pixels."""
        ...

    def follow(
        self, mask: CroppedMask, label: int, box: FloatArray, geometry: Geometry, along: float = 0.0
    ) -> FloatArray:
        """The next slice's prompt, (4,) in network pixels.

        Args:
            mask: of the slice before, in image pixels.
            label: the object's number, from 1.
            box: (4,) the user's box in image pixels; it prompts again where the mask gives no box.
            along: where the slice's middle lies in the user's box: 0 in the middle, ±1 at its ends.
        """
        ...


@dataclass(frozen=True)
class Corrected:
    """The bounding box of the mask, grown by MARGIN network pixels, inside the user's box.

    The user's box holds the whole object, so no slice's box need be larger. Without that bound, masks that are slightly
    too large grow from slice to slice. Most objects are smaller towards their ends, so the bound is, too (`NARROWING`).
    Where the grown box and the bound do not meet, the bound prompts.

    Attributes:
        bounded: whether the user's box holds the whole object. If not, it prompts its own slice alone.
    """

    bounded: bool = True
    enlarging = cv2.INTER_LINEAR
    everywhere = False

    def check_count(self, boxes: int) -> None:
        """Any number."""

    def start(self, boxes: FloatArray, geometry: Geometry) -> FloatArray:
        return geometry.boxes_to_network(boxes)

    def follow(
        self, mask: CroppedMask, label: int, box: FloatArray, geometry: Geometry, along: float = 0.0
    ) -> FloatArray:
        if self.bounded:
            box = bound = _narrowed(box, along)
        else:
            bound = np.array([0, 0, geometry.width, geometry.height], dtype=np.float32)
        next_box = box if mask.empty else _grown(mask, MARGIN / geometry.scale, bound)
        prompt: FloatArray = geometry.boxes_to_network(next_box[None])[0]
        return prompt


def _narrowed(box: FloatArray, along: float) -> FloatArray:
    """The box (4,) with its sides shortened, around its middle, towards the ends of the object."""
    share = 1 - NARROWING * (1 - np.sqrt(max(0.0, 1 - along * along)))
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * share
    return np.asarray(np.concatenate([middle - half, middle + half]), dtype=np.float32)


def _grown(mask: CroppedMask, margin: float, box: FloatArray) -> FloatArray:
    """The mask's bounding box and `margin` on each side, cut by `box`; `box` itself if nothing is left."""
    height, width = mask.pixels.shape
    low = np.array([mask.left, mask.top]) - margin
    high = np.array([mask.left + width, mask.top + height]) + margin
    grown = np.concatenate([low, high]).clip(np.tile(box[:2], 2), np.tile(box[2:], 2)).astype(np.float32)
    return grown if (grown[:2] < grown[2:]).all() else box


class Published:
    """Prompts in whole network pixels, as the scripts of LiteMedSAM and Rep-MedSAM make them.

    Boxes lose their fraction. The mask is shrunk as a plane of *label values* in 8 bits, so that an object's next box
    depends on its number. That box has the last pixel for a far edge and may reach into the padding.
    """

    enlarging = cv2.INTER_AREA  # OpenCV enlarges with it in blocks, as the scripts do
    everywhere = True

    def check_count(self, boxes: int) -> None:
        if boxes > 255:
            raise InputError(f"compat: expected at most 255 boxes, as many as its 8-bit labels, got {boxes}")

    def start(self, boxes: FloatArray, geometry: Geometry) -> FloatArray:
        return np.trunc(boxes.astype(np.float64) * geometry.scale).astype(np.float32)

    def follow(
        self, mask: CroppedMask, label: int, box: FloatArray, geometry: Geometry, along: float = 0.0
    ) -> FloatArray:
        plane = np.zeros((geometry.height, geometry.width), dtype=np.uint8)
        plane[mask.where][mask.pixels] = label
        small = cv2.resize(plane, (geometry.new_width, geometry.new_height), interpolation=cv2.INTER_AREA)
        rows, columns = np.nonzero(small)
        if rows.size == 0:
            start: FloatArray = self.start(box[None], geometry)[0]
            return start
        low = np.array([columns.min(), rows.min()]) - MARGIN
        high = np.array([columns.max(), rows.max()]) + MARGIN
        return np.concatenate([low, high]).clip(0, geometry.size).astype(np.float32)


def rule_of(compat: Compat | None, follow: bool = False) -> Rule:
    """The corrected rule, for whole objects or for boxes on one slice, or the published one."""
    return Corrected(bounded=not follow) if compat is None else Published()
