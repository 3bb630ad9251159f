"""Images with label maps, found in folders and shards.

ROOT/<Modality>/<dataset>/images/*.jpg|png|…      8-bit grey or colour
ROOT/<Modality>/<dataset>/masks/<same stem>.png   label map: 0 background, 1..N one value per object
or
ROOT/*.tar                                        shards as `train prepare` writes them, see shards.py
or, without masks,
ROOT/<Modality>/<dataset>/*.jpg|png|…
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.modality import Modality
from medsam_edge.reading.suffixes import PICTURE_SUFFIXES
from medsam_edge_train.data.shards import Blob, shard_index

SPLITS = ("train", "val")
"""Folders of a data folder: images to train on and images to validate on."""

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]


class Case(NamedTuple):
    """One image with its label map, if it has one."""

    image: Blob
    mask: Blob | None
    modality: Modality
    dataset: str
    key: str  # stable name, unique below the root folder


def find_cases(root: Path) -> list[Case]:
    """Every image that has a mask, sorted: from the tars in the folder if there are any, else from its subfolders.

    Raises:
        FileMissingError: the folder does not exist.
        ImageError: it holds no pair in one of the layouts above, or a damaged tar.
        ModalityError: a top-level folder is not named after a modality.
    """
    if not root.is_dir():
        raise FileMissingError(f"data: expected a folder, got {root}")
    samples = shard_index(root)
    cases = [_shard_case(key, members) for key, members in samples.items()] if samples else list(_folder_cases(root))
    if not cases:
        raise ImageError(f"data: expected {root}/<Modality>/<dataset>/images and masks, or {root}/*.tar, found no pair")
    return cases


def find_unlabelled(root: Path) -> list[Case]:
    """Every picture ROOT/<Modality>/<dataset>/NAME.png|jpg|…, sorted, without masks.

    Raises:
        FileMissingError: the folder does not exist.
        ImageError: it holds no picture in this layout.
        ModalityError: a top-level folder is not named after a modality.
    """
    if not root.is_dir():
        raise FileMissingError(f"unlabelled: expected a folder, got {root}")
    cases = []
    for file in sorted(root.glob("*/*/*")):
        modality = Modality.parse(file.parent.parent.name) if file.name.lower().endswith(PICTURE_SUFFIXES) else None
        if modality:
            key = "/".join(file.relative_to(root).with_suffix("").parts)
            cases.append(Case(Blob(file), None, modality, file.parent.name, key))
    if not cases:
        raise ImageError(f"unlabelled: expected {root}/<Modality>/<dataset>/*.png or *.jpg, found none")
    return cases


def _folder_cases(root: Path) -> Iterator[Case]:
    for mask in sorted(root.glob("*/*/masks/*.png")):
        dataset = mask.parent.parent
        same_name = (dataset / "images").glob(f"{glob.escape(mask.stem)}.*")
        images = sorted(image for image in same_name if image.stem == mask.stem)
        modality = Modality.parse(dataset.parent.name)
        if images and modality:
            key = f"{dataset.parent.name}/{dataset.name}/{mask.stem}"
            yield Case(Blob(images[0]), Blob(mask), modality, dataset.name, key)


def _shard_case(key: str, members: Mapping[str, Blob]) -> Case:
    images = [name for name in ("image.png", "image.jpg") if name in members]
    if len(images) != 1 or not members.keys() >= {"mask.png", "json"}:
        raise ImageError(
            f"data: expected image.png or image.jpg, mask.png and json of {key}, found {', '.join(members)}"
        )
    try:
        about = json.loads(members["json"].read())
        return Case(members[images[0]], members["mask.png"], Modality(about["modality"]), about["dataset"], key)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"data: expected modality and dataset of {key} in {members['json']}") from error


def read_case(case: Case) -> tuple[Pixels, Labels]:
    """(H, W) or (H, W, 3) RGB uint8, and (H, W) int32 labels of the same size: zeros without a mask.

    Raises:
        ImageError: a file cannot be read, the image does not have 8 bits, or the sizes differ.
    """
    image = _decode(case.image, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype != np.uint8:
        raise ImageError(f"data: expected 8 bits, as `train prepare` writes, {case.image} has {image.dtype}")
    labels = np.zeros(image.shape[:2]) if case.mask is None else _decode(case.mask, cv2.IMREAD_UNCHANGED)
    if image.shape[:2] != labels.shape[:2] or labels.ndim != 2:
        raise ImageError(f"data: {case.image} is {image.shape}, its mask {labels.shape}")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image, labels.astype(np.int32)


def _decode(picture: Blob, flags: int) -> npt.NDArray[Any]:
    raw = np.frombuffer(picture.read(), dtype=np.uint8)
    image = cv2.imdecode(raw, flags) if raw.size else None
    if image is None:
        raise ImageError(f"data: cannot read {picture}")
    return image


def thin(cases: Sequence[Case], count: int, alike: Callable[[Case], Hashable] = attrgetter("modality")) -> list[Case]:
    """At most `count` cases of each modality, or of those that are `alike`, evenly spaced, in the order given."""
    groups: dict[Hashable, list[int]] = {}
    for index, case in enumerate(cases):
        groups.setdefault(alike(case), []).append(index)
    kept: set[int] = set()
    for indices in groups.values():
        chosen = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
        kept.update(indices[index] for index in chosen)
    return [cases[index] for index in sorted(kept)]
