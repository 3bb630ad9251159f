"""The settings of `prepare`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsam_edge.errors import InputError
from medsam_edge.intensity import SOFT_TISSUE
from medsam_edge.modality import Modality
from medsam_edge_train.options import Output
from medsam_edge_train.settings import at_least_one, check, not_negative

PROTOCOLS: Mapping[str, Mapping[Modality, float]] = {
    "all": {},
    "class-prompt": {modality: 1 / 50 if modality is Modality.CT else 1 / 10 for modality in Modality},
    "rep-medsam": {Modality.CT: 0.2},
}
"""Fractions of the published trainings (class-prompt paper, section 2.1; Rep-MedSAM, section 2.3); 1 if not named."""

SLICE_SUFFIX = r"^(.+?)(?:[-_](?:z|slice[-_]?)\d+)?$"


@dataclass(frozen=True)
class PrepareConfig:
    """Settings of `prepare`.

    Attributes:
        sources: folders that hold, at any depth, images/ with masks/, imagesTr/ with labelsTr/, X_image.nii.gz with
            X_label.nii.gz (nrrd, mha), challenge npz, or DICOM series with a label file; the rules are in `sources.py`.
        output: folder of the shards: train/*.tar, val/*.tar and a report; a killed run in it is continued.
        modality: modality of sources that do not say it.
        image_size: longest side of stored images; smaller images are not enlarged.
        jpeg: quality, 1 to 100, of images stored as jpg; 0 stores png, which is larger and lossless. Masks are always
            png.
        interval: every interval-th labelled slice of a volume is taken (class-prompt paper, section 3.2: 5).
        beyond: slices before the first and after the last labelled one that are taken too: networks that follow objects
            from slice to slice (`interval` 1) learn from them where objects end.
        fractions: random share of images that is taken (of volumes: after the interval): all, class-prompt, rep-medsam,
            a number for all modalities, or a list such as CT=0.02,MR=0.1; modalities not listed are taken whole.
        minimum_pixels: connected parts of an object with fewer pixels in the stored image are removed.
        minimum_voxels: the same in a volume, before it is cut into slices.
        validation: share of each data set's patients that goes to val/ if the source has no split (class-prompt paper,
            section 3.2: 7:3).
        patient_pattern: regular expression, searched in a file's name without suffix; its first group is the patient.
            The default takes the whole name without a slice number (_z12, _slice-3).
        window: level and width in HU of CT that does not have 8 bits yet.
        workers: processes that read and prepare files.
        shard_images: images per shard; somewhat more if a volume's slices must stay together.
        seed: seed of fractions and split.
    """

    sources: tuple[Path, ...]
    output: Output
    modality: str | None = None
    image_size: int = 256
    jpeg: int = 0
    interval: int = 5
    beyond: int = 0
    fractions: str | Mapping[str, float] = "all"
    minimum_pixels: int = 10
    minimum_voxels: int = 100
    validation: float = 0.3
    patient_pattern: str = SLICE_SUFFIX
    window: tuple[float, ...] = SOFT_TISSUE
    workers: int = 1
    shard_images: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.sources, (str, Path)) or not self.sources:
            raise InputError(f"sources: expected folders, got {self.sources!r}")
        check(self, "at least 1", at_least_one, "image_size", "interval", "workers", "shard_images")
        check(self, "0 or more", not_negative, "beyond", "minimum_pixels", "minimum_voxels", "seed")
        check(self, "a quality of 1 to 100, or 0 for png", lambda quality: 0 <= quality <= 100, "jpeg")
        check(self, "0 or more and less than 1", lambda share: 0 <= share < 1, "validation")
        expected = "level and a positive width in HU"
        check(self, expected, lambda pair: len(pair) == 2 and np.isfinite(pair).all() and pair[1] > 0, "window")
        try:
            groups = re.compile(self.patient_pattern).groups
        except re.error as error:
            raise InputError(f"patient_pattern: {error} in {self.patient_pattern!r}") from error
        if groups < 1:
            raise InputError(f"patient_pattern: expected a group (…), got {self.patient_pattern!r}")
        Modality.parse(self.modality)
        fractions_of(self.fractions)


def fractions_of(fractions: str | Mapping[str, float]) -> Mapping[Modality, float]:
    """The share of images that is taken, by modality; modalities that are not named are taken whole.

    Args:
        fractions: a name of `PROTOCOLS`, {modality name: fraction}, or text such as "CT=0.02,MR=0.1" or "0.1".

    Raises:
        InputError: none of these, or a fraction that is not above 0 and at most 1.
        ModalityError: an unknown modality.
    """
    if isinstance(fractions, str):
        if fractions in PROTOCOLS:
            return PROTOCOLS[fractions]
        try:
            if "=" in fractions:
                entries = [entry.partition("=") for entry in fractions.split(",")]
                fractions = {name: float(value) for name, _, value in entries}
            else:
                fractions = dict.fromkeys((modality.value for modality in Modality), float(fractions))
        except ValueError as error:
            expected = f"{', '.join(PROTOCOLS)}, a number or a list such as CT=0.02"
            raise InputError(f"fractions: expected {expected}, got {fractions!r}") from error
    if wrong := {name: value for name, value in fractions.items() if not 0 < value <= 1}:
        raise InputError(f"fractions: expected above 0 and up to 1, got {wrong}")
    return {Modality(Modality.parse(name)): value for name, value in fractions.items()}
