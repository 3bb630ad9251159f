"""From an item and methods to scores, one row per object, method and jitter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.geometry import BoolArray
from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge_benchmarks.accuracy.inputs.items import Item
from medsam_edge_benchmarks.accuracy.inputs.prompts import Prompts
from medsam_edge_benchmarks.accuracy.scoring.methods import Image, Method
from medsam_edge_train.metrics import TOLERANCE, nsd

Telling = Literal["told", "withheld", "wrong"]
Watch = Callable[[float, Item, int, Image, BoolArray, BoolArray], None]
"""Called with DSC, item, label, image, mask and truth of an object."""


@dataclass(frozen=True)
class Row:
    """One method's mask of one object.

    Scores are 0..1, NaN where both masks are empty. NSD has a tolerance of 2: pixels, or mm in a volume.
    """

    key: str  # of the item, as modality and dataset
    modality: str
    dataset: str
    label: int  # the object's, in its label map
    dimensions: int  # 2 or 3
    side: float  # of the object's box in network pixels, see `Prompts.sides`
    pixels: int  # of the object, or voxels
    method: str
    jitter: float  # of the box, in network pixels
    dsc: float
    nsd: float
    challenge_nsd: float  # see `challenge_nsd`
    iou: float
    predicted_iou: float | None  # as the method estimates it; None where it does not
    recognized: str | None  # the modality that the method took the image for; None where it was told
    seconds: float | None  # an even share of its image's; None but at the first jitter: others find embeddings cached

    @property
    def set_name(self) -> str:
        return f"{self.modality}/{self.dataset}"


def measure_item(
    item: Item, methods: Mapping[str, Method], jitters: Sequence[float], telling: str, watch: Watch | None
) -> list[Row]:
    """The rows of an item.

    Args:
        methods: made for this item, so that none finds embeddings of another with the same pixels.
        telling: see `tell`. Images are 8-bit already, as their own modality makes them: only the class prompt changes.
        watch: is shown every mask of the first method at the first jitter.
    """
    loaded = item.load()
    rows: list[Row] = []
    for jitter in jitters:
        prompts = Prompts(loaded.labels, loaded.spacing, item.key, jitter)
        found = {
            name: method.segment(loaded.image, prompts, tell(telling, item.modality))
            for name, method in methods.items()
            if loaded.labels.ndim == 3 or not method.volumes_only
        }
        first = jitter == jitters[0]
        for index, (label, side) in enumerate(zip(prompts.values.tolist(), prompts.sides.tolist(), strict=True)):
            truth = loaded.labels == label
            about = (item.key, item.modality.value, item.dataset, label, truth.ndim, side, int(truth.sum()))
            for name, own in found.items():
                mask = own.mask(index)
                values = scores(mask, truth, loaded.spacing)
                if watch and first and name == next(iter(found)):
                    watch(values[0], item, label, loaded.image, mask, truth)
                predicted = own.scores[index] if own.scores is not None else None
                recognized = own.recognized.value if own.recognized else None
                seconds = own.seconds / len(prompts.values) if first and own.seconds is not None else None
                rows.append(Row(*about, name, jitter, *values, predicted, recognized, seconds))
    return rows


def scores(mask: BoolArray, truth: BoolArray, spacing: Sequence[float]) -> tuple[float, float, float, float]:
    """DSC, NSD, the challenge's NSD and IoU of two masks, each 0..1 or NaN where both are empty.

    They are computed where either mask is: what lies around is background in both and changes none of them, and most of
    an image does.
    """
    where = bounds(mask, truth)
    mask, truth = mask[where], truth[where]
    dsc = dice(mask, truth)
    return dsc, nsd(mask, truth, spacing), challenge_nsd(mask, truth, spacing), dsc / (2 - dsc)


def challenge_nsd(mask: BoolArray, truth: BoolArray, spacing: Sequence[float]) -> float:
    """NSD as the challenge's evaluation script takes it, 0..1: not the distance between outlines.

    A picture is to the script a volume of one slice with spacing 1, 1, 1. Both faces of that slice are surface, so that
    all of the object's area counts, and not its outline alone: a disc of radius 60 whose mask lies 10 pixels aside has
    0.93 by the script and 0.16 by its outline. A volume's spacing, here for the axes z, y, x of (D, H, W), is handed
    over as its file has it, x, y, z. 0 where one of the two is empty, NaN where both are.
    """
    if mask.ndim == 3:
        return nsd(mask, truth, spacing[::-1])
    (own, near_own), (other, near_other) = _surface(mask), _surface(truth)
    area = own.sum() + other.sum()
    return float((own[near_other].sum() + other[near_own].sum()) / area) if area else float("nan")


def _surface(mask: BoolArray) -> tuple[npt.NDArray[np.float64], BoolArray]:
    """Of one face of (H, W), at all corners of pixels, (H + 1, W + 1): the area of surface there, and what lies within
    `TOLERANCE` of any. What a corner has depends on which of its four pixels are in the mask."""
    from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

    areas = np.asarray(create_table_neighbour_code_to_surface_area((1.0, 1.0, 1.0)))
    padded = np.pad(mask, 1).astype(np.uint8)
    code = 8 * padded[:-1, :-1] + 4 * padded[:-1, 1:] + 2 * padded[1:, :-1] + padded[1:, 1:]
    steps = np.arange(-int(TOLERANCE), int(TOLERANCE) + 1)
    disc = (np.hypot(steps, steps[:, None]) <= TOLERANCE).astype(np.uint8)
    return areas[code], cv2.dilate((code > 0).astype(np.uint8), disc) > 0


def bounds(*masks: BoolArray) -> tuple[slice, ...]:
    """The smallest part of the array that holds all that any of the masks holds; empty when they do."""
    where = []
    for axis in range(masks[0].ndim):
        others = tuple(other for other in range(masks[0].ndim) if other != axis)
        hit = np.flatnonzero(np.logical_or.reduce([mask.any(axis=others) for mask in masks]))
        where.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0))
    return tuple(where)


def tell(telling: str, modality: Modality) -> Modality | None:
    """What a segmenter is told of an image: its modality; nothing, if withheld; or a wrong one, the next of `Modality`
    of the same kind (grey or colour), after the last the first."""
    if telling == "withheld":
        return None
    kind = [other for other in Modality if other.is_color is modality.is_color]
    return kind[(kind.index(modality) + 1) % len(kind)] if telling == "wrong" else modality
