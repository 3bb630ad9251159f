"""Images and volumes with labels: what `train` reads, or in any other folder what `train prepare` reads; and mosaics.

A mosaic has small objects in a large image, made of images at hand: several side by side, as one. A network shrinks all
it sees to one square, so in a mosaic of 4 × 4 every object is a quarter as long there: what a nucleus is on a whole
slide.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import FileMissingError, ImageError, InputError
from medsam_edge.intensity import to_display, volume_to_display
from medsam_edge.modality import Modality
from medsam_edge_convert.accuracy import evenly
from medsam_edge_train.data.cases import Case, find_cases, read_case
from medsam_edge_train.prepare.readers import read_labels, read_with_padding
from medsam_edge_train.prepare.sources import Pair, Skipped, find_pairs

Labels = npt.NDArray[np.integer[Any]]
Cut = Literal["modality", "set"]
"""What macro figures are means over; a set is a data set of one modality."""


class Loaded(NamedTuple):
    """An item in memory."""

    image: npt.NDArray[np.uint8]  # as a person would see it: (H, W), (H, W, 3) RGB, or (D, H, W)
    labels: Labels  # (H, W) or (D, H, W), 0 background, one value per object
    spacing: tuple[
        float, ...
    ]  # of each axis of `labels`, in their order: ones for an image, z, y, x in mm for a volume


@dataclass(frozen=True)
class Item:
    """One image or volume with its labels, on disk until it is loaded; `key` is unique below the folder it is from."""

    key: str
    modality: Modality
    dataset: str
    load: Callable[[], Loaded]

    @property
    def set_name(self) -> str:
        return f"{self.modality.value}/{self.dataset}"


def find_items(root: Path, modality: Modality | None = None) -> list[Item]:
    """Everything labelled below a folder, in a stable order. What looks like half a pair is told of on stderr.

    <Modality>/<dataset>/images and masks, or shards (`*.tar`): as `train` reads them. In any other folder what
    `train prepare` reads: challenge npz with `imgs` and `gts`, `X_image.nii.gz` with `X_label.nii.gz` (nrrd, mha), …

    `modality` is that of files whose name and folders say none.
    """
    if not root.is_dir():
        raise FileMissingError(f"data: expected a folder, got {root}")
    if any(root.glob("*.tar")) or any(root.glob("*/*/masks/*.png")):
        return [Item(case.key, case.modality, case.dataset, partial(_load_case, case)) for case in find_cases(root)]
    items = []
    for found in find_pairs(root, modality, leave_out=()):
        if isinstance(found, Skipped):
            print(f"{found.source}: {found.reason}", file=sys.stderr)
        else:
            items.append(Item(found.source, found.modality, found.dataset, partial(_load_pair, found)))
    if not items:
        raise ImageError(
            f"data: expected {root}/<Modality>/<dataset>/images and masks, *.tar, npz with imgs and gts, or "
            "<Modality>/<name>_image.nii.gz with <name>_label.nii.gz, found no pair"
        )
    return items


def choose(items: Iterable[Item], count: int | None, by: str = "modality") -> list[Item]:
    """At most `count` items of each modality or set, evenly spread; all for None. In the order of `Modality`."""
    groups: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: list(Modality).index(item.modality)):
        groups.setdefault(item.modality.value if by == "modality" else item.set_name, []).append(item)
    return [item for own in groups.values() for item in evenly(own, count or len(own))]


def _load_case(case: Case) -> Loaded:
    image, labels = read_case(case)
    return Loaded(image, labels, (1.0, 1.0))


def _load_pair(pair: Pair) -> Loaded:
    labels = read_labels(pair)
    pixels, padding = read_with_padding(pair, labels)
    if labels.ndim == 2:
        return Loaded(to_display(pixels, pair.modality, padding=padding), labels, (1.0, 1.0))
    return Loaded(volume_to_display(pixels, pair.modality, padding=padding), labels, _spacing(pair.label))


def _spacing(file: Path) -> tuple[float, ...]:
    """z, y, x in mm of a volume's file; both npz and medical files have it as x, y, z."""
    if file.suffix.lower() == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            saved = np.ravel(arrays["spacing"]) if "spacing" in arrays else np.ones(3)
    else:
        import SimpleITK as sitk

        header = sitk.ImageFileReader()
        header.SetFileName(str(file))
        header.ReadImageInformation()
        saved = np.array(header.GetSpacing())
    if saved.shape != (3,) or saved.dtype.kind not in "iuf" or not (np.isfinite(saved) & (saved > 0)).all():
        raise ImageError(f"spacing: expected three positive numbers x, y, z in {file.name}, got {saved}")
    return tuple(saved[::-1].astype(float).tolist())


def mosaics(items: Iterable[Item], side: int) -> list[Item]:
    """Items of `side` × `side` images of one modality and dataset, neighbours in the order given; each in one mosaic.

    There is no mosaic with empty cells: images too few to fill one are left out, which is told on stderr. Nothing is
    read before a mosaic is loaded; loading one that has a volume raises InputError.
    """
    sets: dict[str, list[Item]] = {}
    for item in items:
        sets.setdefault(item.set_name, []).append(item)
    cells, made = side * side, []
    for name, own in sets.items():
        if left := len(own) % cells:
            print(f"{name}: {left} of {len(own)} images fill no mosaic and are left out", file=sys.stderr)
        for start in range(0, len(own) - left, cells):
            load = partial(_load_mosaic, own[start : start + cells], side)
            made.append(replace(own[start], key=f"{own[start].key} + {cells - 1}", load=load))
    if not made:
        raise InputError(f"--mosaic {side}: expected {cells} images or more of one modality and dataset")
    return made


def _load_mosaic(parts: Sequence[Item], side: int) -> Loaded:
    """Cells are as large as the largest image; what an image does not fill of its cell has its own darkest value."""
    loaded: list[Loaded] = []
    for part in parts:
        loaded.append(part.load())
        if (shape := loaded[-1].labels.shape)[2:]:
            raise InputError(f"--mosaic: expected pictures, {part.key} is a volume of shape {shape}")
    height, width = np.max([own.labels.shape for own in loaded], axis=0).tolist()
    color = (3,) if any(own.image.ndim == 3 for own in loaded) else ()
    image = np.empty((side * height, side * width, *color), dtype=np.uint8)
    labels = np.zeros(image.shape[:2], dtype=np.int32)
    objects = 0
    for number, own in enumerate(loaded):
        top, left = height * (number // side), width * (number % side)
        there = np.s_[top : top + own.labels.shape[0], left : left + own.labels.shape[1]]
        image[top : top + height, left : left + width] = own.image.min()
        image[there] = cv2.cvtColor(own.image, cv2.COLOR_GRAY2RGB) if color and own.image.ndim == 2 else own.image
        values = np.unique(own.labels[own.labels > 0])
        labels[there] = np.where(own.labels > 0, objects + 1 + np.searchsorted(values, own.labels), 0)
        objects += len(values)
    return Loaded(image, labels, (1.0, 1.0))
