"""Images and volumes with labels: what `train` reads, or in any other folder what `train prepare` reads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.intensity import to_display, volume_to_display
from medsam_edge.modality import Modality
from medsam_edge_convert.accuracy import evenly
from medsam_edge_train.data.cases import Case, find_cases, read_case
from medsam_edge_train.prepare.readers import read_labels, read_pixels
from medsam_edge_train.prepare.sources import Pair, Skipped, find_pairs

Labels = npt.NDArray[np.integer[Any]]
Cut = Literal["modality", "set"]
"""What macro figures are means over; a set is a data set of one modality."""


class Loaded(NamedTuple):
    """An item in memory.

    Attributes:
        image: uint8 as a person would see it: (H, W), (H, W, 3) RGB, or (D, H, W).
        labels: (H, W) or (D, H, W), 0 background, one value per object.
        spacing: of each axis of `labels`, in the order of its axes: ones for an image, z, y, x in mm for a volume.
    """

    image: npt.NDArray[np.uint8]
    labels: Labels
    spacing: tuple[float, ...]


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

    Args:
        modality: of files whose name and folders say none.

    Raises:
        FileMissingError: the folder does not exist.
        ImageError: nothing is found, or a damaged tar.
        ModalityError: in the first layout, a top-level folder is no modality.
    """
    if not root.is_dir():
        raise FileMissingError(f"data: expected a folder, got {root}")
    if any(root.glob("*.tar")) or any(root.glob("*/*/masks/*.png")):
        return [Item(case.key, case.modality, case.dataset, partial(_load_case, case)) for case in find_cases(root)]
    items = list(_pairs(root, modality))
    if not items:
        raise ImageError(
            f"data: expected {root}/<Modality>/<dataset>/images and masks, *.tar, npz with imgs and gts, or "
            "<Modality>/<name>_image.nii.gz with <name>_label.nii.gz, found no pair"
        )
    return items


def choose(items: Sequence[Item], count: int | None, by: str = "modality") -> list[Item]:
    """At most `count` items of each modality or set, evenly spread; all for None. In the order of `Modality`.

    Args:
        by: one of `Cut`.
    """
    groups: dict[str, list[Item]] = {}
    order = list(Modality)
    for item in sorted(items, key=lambda item: order.index(item.modality)):
        groups.setdefault(item.modality.value if by == "modality" else item.set_name, []).append(item)
    return [item for own in groups.values() for item in evenly(own, count or len(own))]


def _pairs(root: Path, modality: Modality | None) -> Iterator[Item]:
    for found in find_pairs(root, modality, leave_out=()):
        if isinstance(found, Skipped):
            print(f"{found.source}: {found.reason}", file=sys.stderr)
        else:
            yield Item(found.source, found.modality, found.dataset, partial(_load_pair, found))


def _load_case(case: Case) -> Loaded:
    image, labels = read_case(case)
    return Loaded(image, labels, (1.0, 1.0))


def _load_pair(pair: Pair) -> Loaded:
    labels = read_labels(pair)
    pixels = read_pixels(pair, labels)
    if labels.ndim == 2:
        return Loaded(to_display(pixels, pair.modality), labels, (1.0, 1.0))
    return Loaded(volume_to_display(pixels, pair.modality), labels, _spacing(pair.label))


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
