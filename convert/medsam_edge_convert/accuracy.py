"""DSC and NSD on images with masks, per modality, beside the ellipse inscribed in the box.

Each object is prompted with its tight box. A modality's figure is the mean over its objects; the mean is over
modalities, so that three hundred nuclei do not outvote one polyp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge import Segmenter
from medsam_edge.boxes import boxes_from_masks
from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge_convert.page import Line
from medsam_edge_train.data.cases import Case, read_case
from medsam_edge_train.metrics import nsd

T = TypeVar("T")
ELLIPSE = "ellipse"
TILE = 224
"""Side of an example's picture, in pixels."""


@dataclass(frozen=True)
class ObjectScore:
    """One object's DSC and, where asked for, NSD by method."""

    case: Case
    label: int
    dsc: Mapping[str, float]
    nsd: Mapping[str, float] = field(default_factory=dict)


def score_cases(
    segmenters: Mapping[str, Segmenter], cases: Iterable[Case], surfaces: bool = False, objects: int | None = None
) -> list[ObjectScore]:
    """Segment the labelled objects of every case with every segmenter.

    Args:
        surfaces: NSD as well, with a tolerance of two pixels.
        objects: at most so many of an image, evenly chosen; None for all.
    """
    scores: list[ObjectScore] = []
    for case in cases:
        image, labels = read_case(case)
        values, boxes = np.unique(labels[labels > 0]), boxes_from_masks(labels)
        chosen = evenly(range(len(values)), objects or len(values))
        values, boxes = values[chosen].tolist(), boxes[chosen]
        results = {name: segmenter.segment(image, boxes, case.modality) for name, segmenter in segmenters.items()}
        for index, value in enumerate(values):
            truth = labels == value
            masks = {name: result.mask(index) for name, result in results.items()}
            masks[ELLIPSE] = inscribed_ellipse(boxes[index], truth.shape)
            dsc = {name: dice(mask, truth) for name, mask in masks.items()}
            distances = {name: nsd(mask, truth) for name, mask in masks.items()} if surfaces else {}
            scores.append(ObjectScore(case, value, dsc, distances))
    return scores


def inscribed_ellipse(box: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """What one knows without looking at the image: the mask of the ellipse, or ellipsoid, that touches all of a box.

    Args:
        box: (4,) x0, y0, x1, y1 for a shape (H, W), (6,) x0, y0, z0, x1, y1, z1 for (D, H, W); far edges exclusive.
    """
    mask = np.zeros(shape, dtype=bool)
    low, high = box[: len(shape)][::-1].astype(np.float64), box[len(shape) :][::-1].astype(np.float64)
    where = tuple(slice(int(first), int(np.ceil(last))) for first, last in zip(low, high, strict=True))
    along = [
        (cells + 0.5 - (first + last) / 2) / ((last - first) / 2)
        for cells, first, last in zip(np.ogrid[where], low, high, strict=True)
    ]
    mask[where] = sum(distance**2 for distance in along) <= 1
    return mask


def evenly(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of them, evenly spread, so that no folder is left out."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))
    return [items[index] for index in chosen]


def by_modality(scores: Sequence[ObjectScore], metric: Literal["dsc", "nsd"] = "dsc") -> dict[str, dict[str, float]]:
    """Mean DSC or NSD in percent by modality and method, number of objects, and the mean over modalities as `mean`."""
    table: dict[str, dict[str, float]] = {}
    for modality in Modality:
        if own := [score for score in scores if score.case.modality is modality]:
            values = [getattr(score, metric) for score in own]
            means = {name: 100 * float(np.mean([value[name] for value in values])) for name in values[0]}
            table[modality.value] = {"objects": len(own), **means}
    if table:
        columns = next(iter(table.values()))
        table["mean"] = {name: float(np.mean([row[name] for row in table.values()])) for name in columns}
        table["mean"]["objects"] = len(scores)
    return table


def as_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The table of `by_modality` for a model card."""
    headings, lines = as_cells(table)
    rows = [headings, ["---"] * len(headings), *([text for (text,) in line.cells] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_cells(table: Mapping[str, Mapping[str, float]]) -> tuple[list[str], list[Line]]:
    """Headings and lines of the table of `by_modality`."""
    lines = []
    for name, row in table.items():
        figures = [f"{value:.0f}" if column == "objects" else f"{value:.1f}" for column, value in row.items()]
        lines.append(Line([(text,) for text in (name, *figures)]))
    return ["modality", *next(iter(table.values()))], lines


def draw_case(segmenter: Segmenter, case: Case, told: Modality | None) -> npt.NDArray[np.uint8]:
    """(224, 224, 3) RGB: a case's masks, truth outlined in white."""
    image, labels = read_case(case)
    return outlined(segmenter.segment(image, boxes_from_masks(labels), told).overlay(), labels)


def outlined(picture: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """(224, 224, 3) RGB: an (H, W, 3) picture with the objects of (H, W) labels outlined in white."""
    drawn = picture.copy()
    for value in np.unique(labels[labels > 0]):
        truth = (labels == value).astype(np.uint8)
        outlines, _ = cv2.findContours(truth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, (255, 255, 255), 1)
    return np.asarray(cv2.resize(drawn, (TILE, TILE), interpolation=cv2.INTER_AREA), dtype=np.uint8)
