"""A data folder of synthetic images of all modalities, for pre-training and for trying every stage without data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from medsam_edge.errors import InputError
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom
from medsam_edge_train.options import Output
from medsam_edge_train.settings import at_least_one, check, not_negative

VALIDATION_SEED = 1_000_000
"""Added to the seed of validation images, so that the two splits share no image."""


@dataclass(frozen=True)
class PhantomConfig:
    """Settings of `phantoms`.

    Attributes:
        output: folder to make, with train/ and val/ in the layout that fit reads.
        count: training images per modality.
        val_count: validation images per modality.
        seed: number of the first image.
    """

    output: Output
    count: int = 20
    val_count: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, "at least 1", at_least_one, "count", "val_count")
        check(self, "0 or more", not_negative, "seed")
        if self.output.exists():
            raise InputError(f"output: {self.output} exists already")


def write_phantoms(config: PhantomConfig, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Write the folder and return its path; it appears whole or not at all. `progress` is told each split."""
    partial = config.output.with_name(f".{os.getpid()}.partial.{config.output.name}")
    for split, count, first in (
        ("train", config.count, config.seed),
        ("val", config.val_count, config.seed + VALIDATION_SEED),
    ):
        for modality in Modality:
            folder = partial / split / modality.value / "phantom"
            for kind in ("images", "masks"):
                (folder / kind).mkdir(parents=True)
            for seed in range(first, first + count):
                source = phantom(modality, seed=seed)
                image = to_display(source.image, modality)
                cv2.imwrite(str(folder / "masks" / f"{seed}.png"), source.labels.astype(np.uint16))
                cv2.imwrite(str(folder / "images" / f"{seed}.png"), image[..., ::-1] if image.ndim == 3 else image)
        progress(f"phantoms: {split}, {count} of each modality")
    partial.rename(config.output)
    return config.output
