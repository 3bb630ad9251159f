"""How a mask prompts the next slice: the corrected rule, and the published one with its quirks, for parity checks.

A rule turns boxes and masks into prompts and has them decoded. The unit of a prompt is the rule's own business.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from medsam_edge.boxes import BoxesLike, box_array
from medsam_edge.errors import InputError
from medsam_edge.geometry import FloatArray, Geometry, Windows
from medsam_edge.inference.embedding import Embedding
from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import Segmentation
from medsam_edge.settings import Compat, Overlap

if TYPE_CHECKING:
    from medsam_edge.segmenter import Segmenter

MARGIN = 3
"""Network pixels by which a mask's bounding box grows before it prompts the next slice (LiteMedSAM, Rep-MedSAM)."""


class Rule(Protocol):
    enlarging: int  # OpenCV's interpolation of slices smaller than the network's square

    def volume_boxes(self, boxes: BoxesLike, axis: int) -> BoxesLike:
        """Boxes of a volume, slices along an array axis, as the caller has them → (N, 6) with all far edges exclusive.

        Raises:
            InputError: more boxes than the rule can number.
        """
        ...

    def start(self, boxes: FloatArray, geometry: Geometry) -> FloatArray:
        """(N, 4) boxes in image pixels → N prompts (N, 4)."""
        ...

    def follow(self, mask: CroppedMask, label: int, start: FloatArray, geometry: Geometry) -> FloatArray:
        """The next slice's prompt (4,) from the mask of object `label`; `start`, its box's own, if that gives none."""
        ...

    def decode(
        self, segmenter: Segmenter, embedding: Embedding, prompts: FloatArray, overlap: Overlap = "later"
    ) -> Segmentation:
        """N masks for N prompts; the result's boxes mean nothing."""
        ...


class Corrected:
    """Prompts in image pixels: the mask's own bounding box, grown by MARGIN network pixels, inside the user's box.

    The user's box holds the whole object, so no slice's box need be larger; without that bound, masks that are a little
    too large grow from slice to slice. Where nothing of the grown box lies inside, the user's box prompts again.
    """

    enlarging = cv2.INTER_LINEAR

    def volume_boxes(self, boxes: BoxesLike, axis: int) -> BoxesLike:
        return boxes

    def start(self, boxes: FloatArray, geometry: Geometry) -> FloatArray:
        return boxes

    def follow(self, mask: CroppedMask, label: int, start: FloatArray, geometry: Geometry) -> FloatArray:
        if mask.empty:
            return start
        height, width = mask.pixels.shape
        margin = MARGIN / geometry.scale
        low = np.array([mask.left, mask.top]) - margin
        high = np.array([mask.left + width, mask.top + height]) + margin
        box = np.concatenate([low, high]).clip(np.tile(start[:2], 2), np.tile(start[2:], 2)).astype(np.float32)
        return box if (box[:2] < box[2:]).all() else start

    def decode(
        self, segmenter: Segmenter, embedding: Embedding, prompts: FloatArray, overlap: Overlap = "later"
    ) -> Segmentation:
        return segmenter.decode(embedding, prompts, overlap=overlap)


class Published:
    """Prompts in whole network pixels, as the scripts of LiteMedSAM and Rep-MedSAM make them.

    Boxes lose their fraction, z_max is the last slice, and the mask is shrunk as a plane of *label values* in 8 bits,
    so that an object's next box depends on its number; that box has the last pixel for a far edge and may reach into
    the padding.
    """

    enlarging = cv2.INTER_AREA  # which leaves each pixel a block when it enlarges

    def volume_boxes(self, boxes: BoxesLike, axis: int) -> BoxesLike:
        rows = box_array(boxes, 6)
        if len(rows) > 255:
            raise InputError(f"compat: expected at most 255 boxes, as many as its 8-bit labels, got {len(rows)}")
        rows[:, 5 - axis] += 1
        return rows

    def start(self, boxes: FloatArray, geometry: Geometry) -> FloatArray:
        return np.trunc(boxes.astype(np.float64) * geometry.scale).astype(np.float32)

    def follow(self, mask: CroppedMask, label: int, start: FloatArray, geometry: Geometry) -> FloatArray:
        plane = np.zeros((geometry.height, geometry.width), dtype=np.uint8)
        plane[mask.where][mask.pixels] = label
        small = cv2.resize(plane, (geometry.new_width, geometry.new_height), interpolation=cv2.INTER_AREA)
        rows, columns = np.nonzero(small)
        if rows.size == 0:
            return start
        low = np.array([columns.min(), rows.min()]) - MARGIN
        high = np.array([columns.max(), rows.max()]) + MARGIN
        return np.concatenate([low, high]).clip(0, geometry.size).astype(np.float32)

    def decode(
        self, segmenter: Segmenter, embedding: Embedding, prompts: FloatArray, overlap: Overlap = "later"
    ) -> Segmentation:
        image = embedding.geometry
        prompted = replace(embedding, geometry=_Prompted(image.height, image.width, image.size, prompts=prompts))
        whole = np.tile([0, 0, image.width, image.height], (len(prompts), 1))
        return segmenter.decode(prompted, whole, overlap=overlap)


@dataclass(frozen=True)
class _Prompted(Geometry):
    """A geometry whose boxes are in network pixels already, where they may be what no box of the image is."""

    prompts: FloatArray = field(kw_only=True, compare=False)

    def boxes_to_network(self, boxes: FloatArray) -> FloatArray:
        return self.prompts

    def windows(self, boxes: FloatArray, reach: float) -> Windows:
        return super().windows(boxes, self.size)  # the scripts look everywhere


def rule_of(compat: Compat | None) -> Rule:
    """The corrected rule, or the published one."""
    return Corrected() if compat is None else Published()
