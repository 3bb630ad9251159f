"""From an item and methods to scores, one row per object, method and jitter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medsam_edge.geometry import BoolArray
from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge_benchmarks.accuracy.inputs.items import Item, Loaded
from medsam_edge_benchmarks.accuracy.inputs.prompts import Prompts
from medsam_edge_benchmarks.accuracy.scoring.challenge import challenge_nsd
from medsam_edge_benchmarks.accuracy.scoring.methods import Found, Image, Method
from medsam_edge_train.metrics import nsd

Telling = Literal["told", "withheld", "wrong"]
Watch = Callable[[float, Item, int, Image, BoolArray, BoolArray], None]
"""Called with DSC, item, label, image, mask and truth of an object."""


@dataclass(frozen=True)
class Row:
    """One method's mask of one object.

    Attributes:
        key, modality, dataset: of the item.
        label: the object's, in its label map.
        dimensions: 2 or 3.
        side: of the object's box in network pixels, see `Prompts.sides`.
        pixels: of the object, or voxels.
        jitter: of the box, in network pixels.
        dsc, nsd, challenge_nsd, iou: 0..1; NaN where both masks are empty. NSD with a tolerance of 2: pixels, or mm in
            a volume; see `challenge_nsd` for the challenge's.
        predicted_iou: as the method estimates it; None where it does not.
        recognized: the modality that the method took the image for; None where it was told.
        seconds: the object's share of its image's `Found.seconds`, which is divided evenly; None but at the first
            jitter, for the others find embeddings in the cache.
    """

    key: str
    modality: str
    dataset: str
    label: int
    dimensions: int
    side: float
    pixels: int
    method: str
    jitter: float
    dsc: float
    nsd: float
    challenge_nsd: float
    iou: float
    predicted_iou: float | None
    recognized: str | None
    seconds: float | None

    @property
    def set_name(self) -> str:
        return f"{self.modality}/{self.dataset}"


def measure_item(
    item: Item, methods: Mapping[str, Method], jitters: Sequence[float], telling: str, watch: Watch | None
) -> list[Row]:
    """The rows of an item.

    Args:
        methods: made for this item, so that none finds embeddings of another with the same pixels.
        jitters: network pixels that the sides of boxes are moved by at most, one measurement each.
        telling: one of `Telling`: what networks are told of the modality. Images are 8-bit already, as their own
            modality makes them, so only the class prompt changes.
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
        if len(prompts.values):
            rows += _score_objects(item, loaded, prompts, found, watch if first else None, timed=first)
    return rows


def _score_objects(
    item: Item, loaded: Loaded, prompts: Prompts, found: Mapping[str, Found], watch: Watch | None, timed: bool
) -> Iterator[Row]:
    first = next(iter(found))
    for index, (label, side) in enumerate(zip(prompts.values.tolist(), prompts.sides.tolist(), strict=True)):
        truth = loaded.labels == label
        about = (item.key, item.modality.value, item.dataset, label, truth.ndim, side, int(truth.sum()))
        for name, own in found.items():
            mask = own.mask(index)
            values = scores(mask, truth, loaded.spacing)
            if watch and name == first:
                watch(values[0], item, label, loaded.image, mask, truth)
            predicted = own.scores[index] if own.scores is not None else None
            recognized = own.recognized.value if own.recognized else None
            seconds = own.seconds / len(prompts.values) if timed and own.seconds is not None else None
            yield Row(*about, name, prompts.jitter, *values, predicted, recognized, seconds)


def scores(mask: BoolArray, truth: BoolArray, spacing: Sequence[float]) -> tuple[float, float, float, float]:
    """DSC, NSD, the challenge's NSD and IoU of two masks, each 0..1 or NaN where both are empty.

    They are computed where either mask is: what lies around is background in both and changes none of them, and most of
    an image does.
    """
    where = bounds(mask, truth)
    mask, truth = mask[where], truth[where]
    dsc = dice(mask, truth)
    return dsc, nsd(mask, truth, spacing), challenge_nsd(mask, truth, spacing), dsc / (2 - dsc)


def bounds(*masks: BoolArray) -> tuple[slice, ...]:
    """The smallest part of the array that holds all that any of the masks holds; empty when they do."""
    axes = masks[0].ndim
    where = []
    for axis in range(axes):
        others = tuple(other for other in range(axes) if other != axis)
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
