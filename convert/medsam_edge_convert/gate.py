"""The accuracy gate: what PyTorch, the f32 model and the bundle reach on real masks, and how much may be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from cyclopts import Parameter

from medsam_edge import Segmenter
from medsam_edge.errors import ConversionError, ImageError, InputError
from medsam_edge_convert.accuracy import ELLIPSE, ObjectScore, by_modality, draw_case, evenly, score_cases
from medsam_edge_train.data.cases import Case, find_cases
from medsam_edge_train.progress import track

TORCH, EXACT, FINAL = "torch", "f32", "bundle"
WORST = 12
OBJECTS = 8
"""At most so many of an image are segmented, or a slide of nuclei would take longer than all the rest."""


@dataclass(frozen=True)
class Gate:
    """What the bundle is measured on, and what it may lose against PyTorch.

    Attributes:
        data: folder of images with masks, or shards, as `medsam-edge train` reads them.
        images: at most so many of them, evenly spread.
        max_drop: points of mean DSC (the mean over modalities).
        max_modality_drop: points of any one modality's DSC.
    """

    data: Annotated[Path, Parameter(name="--validation")]
    images: Annotated[int, Parameter(name="--validation-images")] = 200
    max_drop: float = 0.5
    max_modality_drop: float = 2.0

    def __post_init__(self) -> None:
        if self.images < 1:
            raise InputError(f"validation images: expected a positive number, got {self.images}")
        if min(self.max_drop, self.max_modality_drop) < 0:
            raise InputError("max drop: expected points of DSC, 0 or more")

    def cases(self) -> list[Case]:
        return evenly(find_cases(self.data), self.images)


@dataclass(frozen=True)
class Accuracy:
    """What the gate measured."""

    dsc: Mapping[str, Mapping[str, float]]  # percent by modality (and `mean`) and method
    nsd: Mapping[str, Mapping[str, float]]
    scores: Sequence[ObjectScore]  # of every object

    @property
    def drops(self) -> dict[str, float]:
        """Points of DSC lost from PyTorch to the bundle, by modality and `mean`."""
        return {name: row[TORCH] - row[FINAL] for name, row in self.dsc.items()}

    @property
    def worst(self) -> list[ObjectScore]:
        """The objects that lost most, one of an image."""
        ordered = sorted(self.scores, key=lambda score: score.dsc[FINAL] - score.dsc[TORCH])
        by_image = {score.case.key: score for score in reversed(ordered)}
        return sorted(by_image.values(), key=lambda score: score.dsc[FINAL] - score.dsc[TORCH])[:WORST]


def measure_accuracy(segmenters: Mapping[str, Segmenter], gate: Gate) -> Accuracy:
    """DSC and NSD of `TORCH`, `EXACT` and `FINAL`, the ellipse beside them; raises ImageError without an object."""
    cases = gate.cases()
    shown = track(cases, "accuracy: image", len(cases))
    scores = score_cases(segmenters, shown, surfaces=True, objects=OBJECTS)
    if not scores:
        raise ImageError(f"validation: expected labelled objects in {gate.data}, found none")
    return Accuracy(by_modality(scores, "dsc"), by_modality(scores, "nsd"), scores)


def check_accuracy(accuracy: Accuracy, gate: Gate) -> None:
    """Raise ConversionError if the bundle lost more than it may; the message names where."""
    limits = {name: gate.max_drop if name == "mean" else gate.max_modality_drop for name in accuracy.drops}
    if beyond := [f"{name} {drop:.2f}" for name, drop in accuracy.drops.items() if not drop <= limits[name]]:
        raise ConversionError(
            f"accuracy: expected to lose at most {gate.max_drop} points of mean DSC and {gate.max_modality_drop} of "
            f"any modality's, lost {', '.join(beyond)}; --precision mixed keeps more in floating point, and "
            "`medsam-edge train finetune --qat` trains for int8"
        )


def draw_worst(segmenters: Mapping[str, Segmenter], accuracy: Accuracy) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """The cases that lost most: a line of text, and PyTorch's masks beside the bundle's, (224, 448, 3) RGB."""
    drawn = []
    for score in accuracy.worst:
        case = score.case
        pair = [draw_case(segmenters[name], case, case.modality) for name in (TORCH, FINAL)]
        figures = ", ".join(f"{name} {100 * score.dsc[name]:.1f}" for name in (TORCH, FINAL, ELLIPSE))
        drawn.append((f"{case.modality.value} {case.key}, object {score.label}: DSC {figures}", np.hstack(pair)))
    return drawn
