"""DSC on image/mask folders, per modality, beside the ellipse inscribed in the box.

Each object is prompted with its tight box. A modality's figure is the mean over its objects; the mean is over
modalities, so that three hundred nuclei do not outvote one polyp.

The modality may be told, withheld or told wrong, which shows what a class prompt is worth. The images are
8-bit: they are display-ready whatever their modality, and only the class prompt changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge import Segmenter
from medsam_edge.geometry import boxes_from_masks
from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge_train.data import Case, find_cases, read_case

ELLIPSE = "ellipse"
Progress = Callable[[int, int], None]
TELLING = ("told", "withheld", "wrong")


def tell(telling: str, modality: Modality) -> Modality | None:
    """What a segmenter is told of an image: its modality; nothing, if withheld; or a wrong one, the next of `Modality`
    of the same kind (grey or colour), after the last the first."""
    if telling == "withheld":
        return None
    kind = [other for other in Modality if other.is_color is modality.is_color]
    return kind[(kind.index(modality) + 1) % len(kind)] if telling == "wrong" else modality


@dataclass(frozen=True)
class ObjectScore:
    """One object's DSC by method, and what each method recognised its image as, if it had to."""

    case: Case
    label: int
    dsc: Mapping[str, float]
    recognized: Mapping[str, Modality | None] = field(default_factory=dict)


def measure(
    segmenters: Mapping[str, Segmenter],
    data: Path,
    telling: str = "told",
    progress: Progress = lambda done, total: None,
) -> list[ObjectScore]:
    """Segment every labelled object of every image below `data` with every segmenter.

    Args:
        telling: one of `TELLING`.
    """
    cases = find_cases(data)
    scores: list[ObjectScore] = []
    for number, case in enumerate(cases):
        image, labels = read_case(case)
        values = [int(value) for value in np.unique(labels) if value]
        boxes = boxes_from_masks(labels)
        told = tell(telling, case.modality)
        results = {name: segmenter.segment(image, boxes, told) for name, segmenter in segmenters.items()}
        recognized = {
            name: result.modality for name, result in results.items() if result.modality_confidence is not None
        }
        for index, value in enumerate(values):
            truth = labels == value
            dsc = {name: dice(result.mask(index), truth) for name, result in results.items()}
            dsc[ELLIPSE] = dice(inscribed_ellipse(boxes[index], truth.shape), truth)
            scores.append(ObjectScore(case, value, dsc, recognized))
        progress(number + 1, len(cases))
    return scores


def inscribed_ellipse(box: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """(H, W) mask of the ellipse that touches the box's four edges: what one knows without looking at the image."""
    x0, y0, x1, y1 = box.tolist()
    u = (np.arange(shape[1]) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    v = (np.arange(shape[0]) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    inside: npt.NDArray[np.bool_] = u[None] ** 2 + v[:, None] ** 2 <= 1
    return inside


def by_modality(scores: Sequence[ObjectScore]) -> dict[str, dict[str, float]]:
    """Mean DSC in percent by modality and method, number of objects, and the mean over modalities as `mean`.

    Where a method had to recognise the modality, `<method> recognised` is the percentage of images it recognised.
    """
    table: dict[str, dict[str, float]] = {}
    for modality in Modality:
        own = [score for score in scores if score.case.modality is modality]
        if own:
            means = {name: 100 * float(np.mean([score.dsc[name] for score in own])) for name in own[0].dsc}
            by_image = {score.case.key: score.recognized for score in own}.values()
            for name in own[0].recognized:
                means[f"{name} recognised"] = 100 * float(np.mean([seen[name] is modality for seen in by_image]))
            table[modality.value] = {"objects": len(own), **means}
    if table:
        columns = next(iter(table.values()))
        table["mean"] = {name: float(np.mean([row[name] for row in table.values()])) for name in columns}
        table["mean"]["objects"] = len(scores)
    return table


def as_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The table for a model card."""
    columns = list(next(iter(table.values())))
    lines = ["| modality | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in table.items():
        cells = [f"{row[column]:.0f}" if column == "objects" else f"{row[column]:.1f}" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw_examples(segmenter: Segmenter, data: Path, per_modality: int, telling: str = "told") -> npt.NDArray[np.uint8]:
    """A contact sheet: each modality a row of evenly chosen images with their masks, truth outlined in white."""
    side, rows = 224, []
    for modality in Modality:
        own = [case for case in find_cases(data) if case.modality is modality]
        if not own:
            continue
        tiles = []
        for index in np.linspace(0, len(own) - 1, per_modality).round().astype(int):
            image, labels = read_case(own[index])
            picture = segmenter.segment(image, boxes_from_masks(labels), tell(telling, modality)).overlay()
            for value in np.unique(labels[labels > 0]):
                truth = (labels == value).astype(np.uint8)
                outlines, _ = cv2.findContours(truth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
                cv2.drawContours(picture, outlines, -1, (255, 255, 255), 1)
            tiles.append(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8))
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)
