"""Samples of following: the prompt is the object's mask on a neighbouring slice, and a box that need not be tight.

The neighbour comes from the same volume, or the mask of a still image is deformed (as STM and XMem are pre-trained).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.geometry import MASK_LIMIT
from medsam_edge_train.data.cases import Case

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

SLICE_KEY = re.compile(r"(.+/)z(\d+)")
NEIGHBOURS = (1, 1, 1, 2)  # distances in slices, equally likely
GROWN_PX = (3.0, 5.0)  # how far the box around the neighbour's mask is grown, in pixels of a 256 frame
LOOSE = 0.5  # largest distance of a loose box's edge from the object, as a share of its side
DEFORMED = 1 / 3  # share of masks of stills that are also warped smoothly
SOFT = 0.5  # share of masks that are given as probabilities


@dataclass(frozen=True)
class Following:
    """Shares of what a sample's objects are prompted with; the rest have boxes alone.

    Attributes:
        follow: the mask on a neighbouring slice.
        ended: of the followed slices that have any, those whose objects are only in the neighbour; the truth is empty.
        wrong: an empty mask, or another object's.
    """

    follow: float = 0.0
    ended: float = 0.0
    wrong: float = 0.0

    def prompts(
        self, masks: BoolArray, near: BoolArray | None, frame: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """What K followed objects are prompted with.

        Args:
            masks: (K, S, S) of this slice.
            near: (K, S, S) of the neighbour; None for a still, whose masks are deformed.
            frame: side of the square at whose scale they are.

        Returns:
            boxes (K, 4) in pixels, and logits (K, S, S) of mask prompts.
        """
        before = [deformed(mask, rng) for mask in masks] if near is None else list(near)
        boxes = [following_box(own, mask, frame, rng) for own, mask in zip(before, masks, strict=True)]
        given = list(before)
        for number in np.flatnonzero(rng.random(len(before)) < self.wrong).tolist():
            other = len(before) > 1 and rng.random() < 0.5
            given[number] = before[number - 1] if other else np.zeros_like(before[number])
        return np.stack(boxes), np.stack([as_prompt(own, rng) for own in given])


def neighbours_of(cases: Sequence[Case]) -> dict[int, dict[int, int]]:
    """For each case that is a slice of a volume (its key ends in z0012): distance in slices → number of the case."""
    places: dict[tuple[str, int], int] = {}
    for index, case in enumerate(cases):
        if found := SLICE_KEY.fullmatch(case.key):
            places[found[1], int(found[2])] = index
    near: dict[int, dict[int, int]] = {}
    for (volume, z), index in places.items():
        near[index] = {step: places[volume, z + step] for step in (-2, -1, 1, 2) if (volume, z + step) in places}
    return near


def deformed(mask: BoolArray, rng: np.random.Generator) -> BoolArray:
    """(S, S) → the same object as it might look on the next slice: moved, turned, scaled, sheared, sometimes warped."""
    x0, y0, x1, y1 = boxes_from_masks(mask.astype(np.int32))[0].astype(float)
    width, height = x1 - x0, y1 - y0
    angle, scale = np.deg2rad(rng.uniform(-20, 20)), np.exp(rng.uniform(-0.25, 0.25))
    shear = np.tan(np.deg2rad(rng.uniform(-10, 10)))
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ [[1, shear], [0, 1]]
    centre = np.array([x0 + x1 - 1, y0 + y1 - 1]) / 2
    offset = centre + rng.uniform(-0.08, 0.08, 2) * (width, height) - linear @ centre
    matrix = np.column_stack([linear, offset])
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    if rng.random() < DEFORMED:
        coarse = rng.uniform(-0.12, 0.12, (2, 5, 5)).astype(np.float32) * np.float32(max(width, height))
        shifts = [cv2.resize(shift, mask.shape[::-1], interpolation=cv2.INTER_CUBIC) for shift in coarse]
        rows, columns = np.indices(mask.shape, dtype=np.float32)
        moved = cv2.remap(moved, columns + shifts[0], rows + shifts[1], cv2.INTER_NEAREST)
    return np.asarray(moved > 0)


def as_prompt(mask: BoolArray, rng: np.random.Generator) -> FloatArray:
    """(S, S) → logits of a mask prompt: the mask a little too large or small, half of the time soft and uneven."""
    grown = int(rng.integers(-3, 4))
    if grown and rng.random() < 0.5:
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(grown) + 1,) * 2)
        mask = (cv2.dilate if grown > 0 else cv2.erode)(mask.astype(np.uint8), disk) > 0
    logits = np.where(mask, MASK_LIMIT, -MASK_LIMIT).astype(np.float32)
    if rng.random() < SOFT:
        logits = cv2.GaussianBlur(logits, (0, 0), rng.uniform(1, 4)).astype(np.float32)
        coarse = rng.normal(0, 2, (8, 8)).astype(np.float32)
        logits += cv2.resize(coarse, mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(logits.clip(-MASK_LIMIT, MASK_LIMIT), np.float32)


def following_box(prior: BoolArray, truth: BoolArray, frame: int, rng: np.random.Generator) -> FloatArray:
    """(4,) in pixels: the neighbour's box a little grown, or, as often, a loose box around both masks.

    Args:
        prior, truth: (S, S); one of them may be empty, not both.
        frame: side of the square at whose scale they are.
    """
    side = prior.shape[0]
    if prior.any() and rng.random() < 0.5:
        box = boxes_from_masks(prior.astype(np.int32))[0]
        outward = rng.uniform(*GROWN_PX, 4) * frame / 256
    else:
        box = boxes_from_masks((prior | truth).astype(np.int32))[0]
        outward = rng.uniform(0, LOOSE, 4) * np.tile(box[2:] - box[:2], 2)
    return np.asarray((box + outward * (-1, -1, 1, 1)).clip(0, side), np.float32)
