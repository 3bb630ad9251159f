"""What is measured: networks, and what knows less, all behind one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge import Segmenter
from medsam_edge.geometry import BoolArray, FloatArray
from medsam_edge.modality import Modality
from medsam_edge.results.mask import CroppedMask
from medsam_edge.settings import Options
from medsam_edge_benchmarks.accuracy.inputs.prompts import Prompts
from medsam_edge_convert.accuracy import inscribed_ellipse

Image = npt.NDArray[np.uint8]
GRABCUT = "grabcut"
GRABCUT_ROUNDS = 5
GRABCUT_SIDE = 256
"""Longest side of what GrabCut looks at, in pixels; larger surroundings are shrunk."""


@dataclass(frozen=True)
class Found:
    """What a method found on one image or volume."""

    mask: Callable[[int], BoolArray]  # of object 0..N-1, (H, W) or (D, H, W); made one at a time: they are large
    scores: Sequence[float] | None = None  # N, the method's own estimate of each mask's IoU; None if it makes none
    recognized: Modality | None = None  # what a network with class prompts took the image for; None if it was told
    seconds: float | None = None  # to find them all; None for masks made when asked for, or of another's embeddings


class Method(Protocol):
    volumes_only: bool

    def segment(self, image: Image, prompts: Prompts, told: Modality | None) -> Found: ...


@dataclass(frozen=True)
class Network:
    """A segmenter; in volumes it propagates from each box's middle slice."""

    segmenter: Segmenter
    options: Options = field(default_factory=Options)
    volumes_only = False

    def segment(self, image: Image, prompts: Prompts, told: Modality | None) -> Found:
        start = time.perf_counter()
        result = self.segmenter.segment(image, prompts.boxes, told, **self.options)
        seconds = time.perf_counter() - start
        recognized = None if result.modality_confidence is None else result.modality
        return Found(result.mask, result.scores.tolist(), recognized, seconds)


@dataclass(frozen=True)
class PerSlice:
    """A segmenter prompted on every slice with the box of what that slice shows of the object.

    Nobody draws so many boxes: this is the bound that propagation, with its one box, can be held against.
    """

    segmenter: Segmenter
    options: Options = field(default_factory=Options)
    volumes_only = True

    def segment(self, image: Image, prompts: Prompts, told: Modality | None) -> Found:
        masks: list[dict[int, CroppedMask]] = [{} for _ in prompts.values]
        scores: list[list[float]] = [[] for _ in prompts.values]
        for z in range(len(image)):
            objects, boxes = prompts.on_slice(z)
            if len(objects):
                result = self.segmenter.segment(image[z], boxes, told, **self.options)
                for index, mask, score in zip(objects, result.masks, result.scores.tolist(), strict=True):
                    masks[index][z] = mask
                    scores[index].append(score)

        def mask_of(index: int) -> BoolArray:
            full = np.zeros(image.shape, dtype=bool)
            for z, own in masks[index].items():
                full[z][own.where] = own.pixels
            return full

        return Found(mask_of, [float(np.mean(own)) for own in scores])


class Ellipse:
    """The ellipse, in volumes the ellipsoid, inscribed in the box: what one knows without looking at the image."""

    volumes_only = False

    def segment(self, image: Image, prompts: Prompts, told: Modality | None) -> Found:
        return Found(lambda index: inscribed_ellipse(prompts.boxes[index], prompts.labels.shape))


class GrabCut:
    """GrabCut (Rother et al. 2004, OpenCV's) begun with the box; in volumes on every slice that the box spans."""

    volumes_only = False

    def segment(self, image: Image, prompts: Prompts, told: Modality | None) -> Found:
        if prompts.labels.ndim == 2:
            return Found(lambda index: grabcut(image, prompts.boxes[index]))

        def mask_of(index: int) -> BoolArray:
            box = prompts.boxes[index]
            full = np.zeros(image.shape, dtype=bool)
            for z in range(int(box[2]), int(np.ceil(box[5]))):
                full[z] = grabcut(image[z], box[[0, 1, 3, 4]])
            return full

        return Found(mask_of)


def grabcut(image: Image, box: FloatArray) -> BoolArray:
    """(H, W) mask of what lies in a box (4,) and looks unlike its surroundings, as far as half the box's longer side.

    Where the box leaves nothing of the image around it, there is nothing to tell the object from: the box itself.
    """
    x0, y0 = np.floor(box[:2]).astype(int)
    x1, y1 = np.ceil(box[2:]).astype(int)
    reach = max(8, int(max(x1 - x0, y1 - y0)) // 2)
    top, left = max(0, y0 - reach), max(0, x0 - reach)
    where = np.s_[top : y1 + reach, left : x1 + reach]
    marks = np.full(image.shape[:2], cv2.GC_BGD, dtype=np.uint8)
    marks[y0:y1, x0:x1] = cv2.GC_PR_FGD
    full = np.zeros(image.shape[:2], dtype=bool)
    full[where] = _cut(image[where], marks[where])
    return full


def _cut(part: Image, marks: npt.NDArray[np.uint8]) -> BoolArray:
    height, width = marks.shape
    shrink = min(1.0, GRABCUT_SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    small = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR if small.ndim == 2 else cv2.COLOR_RGB2BGR)
    mask: npt.NDArray[Any] = cv2.resize(marks, size, interpolation=cv2.INTER_NEAREST_EXACT)
    if len(np.unique(mask)) == 2:
        cv2.setRNGSeed(0)  # it begins with k-means from random centres
        unused = (0, 0, 0, 0)
        cv2.grabCut(small, mask, unused, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = cv2.resize(np.float32(mask == cv2.GC_PR_FGD), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray((found > 0.5) & (marks == cv2.GC_PR_FGD))
