"""Where training images come from, four kinds of folders, and what of them is for training and for validation.

| what | how images and labels are matched |
|---|---|
| `images/` with `masks/` or `labels/`, `imagesTr/` with `labelsTr/` | same stem; the image may end in `_0000` |
| `X_image.nii.gz` with `X_label.nii.gz` (nrrd, mha too) | same X |
| challenge npz | arrays `imgs` and `gts` of one file |
| a folder with one DICOM series | `FOLDER_label.nii.gz` beside it, or `label.nii.gz` in it (nrrd, mha too) |

An image is a picture, a single DICOM file, a volume (NIfTI, NRRD, MetaImage) or a folder with one DICOM series.

The modality is the nearest folder name that is one (for npz first a part of the file's name, `3DBox_CT_0566`), else
that of the DICOM header, else the caller's. Files in or below a folder `train` or `val` keep that split; `test` is left
out. Links to folders are not followed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from medsam_edge.errors import FileMissingError, MedsamEdgeError, ModalityError
from medsam_edge.modality import Modality
from medsam_edge.reading.dicom.preamble import is_dicom
from medsam_edge.reading.read import read_image
from medsam_edge.reading.suffixes import PICTURE_SUFFIXES
from medsam_edge_train.data.cases import SPLITS
from medsam_edge_train.prepare.config import PrepareConfig

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
IMAGE_SUFFIXES = (*PICTURE_SUFFIXES, ".dcm", *VOLUME_SUFFIXES)
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", *VOLUME_SUFFIXES)
JPEG_SUFFIXES = (".jpg", ".jpeg")  # of masks too, of one object: a JPEG changes other labels
FOLDER_PAIRS = (("images", "masks"), ("images", "labels"), ("imagesTr", "labelsTr"))
FIRST_CHANNEL = "_0000"

Stream = tuple[str, Modality]
"""Split and modality. The pairs of a stream become a series of shards."""


@dataclass(frozen=True)
class Pair:
    """An image and its labels on disk."""

    image: Path  # a file, or the folder of a DICOM series
    label: Path  # a file; the image itself for a challenge npz
    modality: Modality
    dataset: str  # name of the folder that holds the pair
    name: str  # name of the image without its suffix; (split, modality, dataset, name) is unique
    split: str  # `train` or `val` if the source says so, else empty
    source: str  # path of the image below its source folder, for reports

    @property
    def is_picture(self) -> bool:
        """Whether the name says that this is one 2D image; a challenge npz may be one although this is false."""
        return self.image.name.lower().endswith((*PICTURE_SUFFIXES, ".dcm"))


class Skipped(NamedTuple):
    """A source that gives no image, and the reason."""

    source: str
    reason: str


def find_pairs(
    root: Path, modality: Modality | None = None, leave_out: Collection[str] = ("test",)
) -> Iterator[Pair | Skipped]:
    """Every pair below a folder, and every image or label without its other half, in a stable order.

    Only names are read, and the header of one file of a DICOM series.

    Args:
        modality: of images that do not say it.
        leave_out: names of folders to skip.

    Raises:
        FileMissingError: the folder does not exist.
    """
    if not root.is_dir():
        raise FileMissingError(f"sources: expected a folder, got {root}")
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders.sort()
        resolved = here.resolve()
        above = (root.resolve().name, *here.relative_to(root).parts)
        if left := next((name for name in leave_out if name in above), None):
            folders.clear()
            yield Skipped(here.relative_to(root).as_posix(), f"a {left} split")
            continue
        for image, label in _halves(here, folders, sorted(files)):
            source = (image or label or here).relative_to(root).as_posix()
            if image is None or label is None:
                yield Skipped(source, f"no {'image' if image is None else 'labels'} found")
                continue
            found = _modality(image, here, root) or modality
            if found is None:
                yield Skipped(source, "modality: no folder is named after one, and none was given")
                continue
            split = next((part for part in above if part in SPLITS), "")
            dataset = (resolved.parent if image == here else resolved).name
            yield Pair(image, label, found, dataset, _name(image), split, source)


def _is_dicom(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and (file.suffix.lower() == ".dcm" or is_dicom(file))


def _stem(name: str, suffixes: tuple[str, ...]) -> str | None:
    """A file name without its suffix; None if it has none of these suffixes."""
    found = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), None)
    return name[: -len(found)] if found else None


def _name(image: Path) -> str:
    stem = image.name if image.is_dir() else _stem(image.name, (*IMAGE_SUFFIXES, ".npz")) or image.name
    return stem.removesuffix("_image").removesuffix(FIRST_CHANNEL)


def _halves(here: Path, folders: list[str], files: list[str]) -> Iterator[tuple[Path | None, Path | None]]:
    """(image, label) of everything in a folder, None for a missing half; removes from `folders` those it has read."""
    for images, labels in FOLDER_PAIRS:
        if images in folders and labels in folders:
            folders.remove(images)
            folders.remove(labels)
            yield from _same_stems(here / images, here / labels)
    if any(name.lower().endswith(".dcm") for name in files):
        yield here, _label_of_series(here)
        return
    for name in files:
        stem = _stem(name, VOLUME_SUFFIXES)
        if name.lower().endswith(".npz"):
            yield here / name, here / name
        elif stem and stem.endswith("_image"):
            yield here / name, _volume(here / f"{stem.removesuffix('_image')}_label")


def _same_stems(images: Path, labels: Path) -> Iterator[tuple[Path | None, Path | None]]:
    by_stem: dict[str, Path] = {}
    for image in sorted(images.iterdir(), key=lambda path: (path.is_dir(), path)):  # files win over folders
        is_series = image.is_dir() and not image.is_symlink() and not image.name.startswith(".")
        stem = image.name if is_series else _stem(image.name, IMAGE_SUFFIXES)
        if stem is not None:
            by_stem.setdefault(stem, image)
    for label in sorted(labels.iterdir()):
        stem = _stem(label.name, LABEL_SUFFIXES)
        if stem is not None and stem in by_stem:
            yield by_stem.pop(stem), label
        elif stem is not None:
            yield by_stem.pop(stem + FIRST_CHANNEL, None), label
            for channel in itertools.count(1):
                if by_stem.pop(f"{stem}_{channel:04d}", None) is None:
                    break
    for label in sorted(labels.iterdir()):
        stem = _stem(label.name, JPEG_SUFFIXES)
        if stem is not None and stem in by_stem:
            yield by_stem.pop(stem), label
    yield from ((image, None) for image in by_stem.values())


def _label_of_series(folder: Path) -> Path | None:
    return _volume(folder / "label") or _volume(folder.with_name(f"{folder.name}_label"))


def _volume(stem: Path) -> Path | None:
    """The file of this path with a suffix of a volume, if there is one."""
    paths = (stem.with_name(f"{stem.name}{suffix}") for suffix in VOLUME_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _modality(image: Path, here: Path, root: Path) -> Modality | None:
    names = image.stem.split("_") if image.suffix.lower() == ".npz" else []
    for name in (*names, *reversed(here.relative_to(root).parts), root.resolve().name):
        with suppress(ModalityError):
            return Modality.parse(name)
    with suppress(MedsamEdgeError, StopIteration):
        if image.is_dir() or image.suffix.lower() == ".dcm":
            files = sorted(image.iterdir()) if image.is_dir() else [image]
            return read_image(next(file for file in files if _is_dicom(file))).modality
    return None


@dataclass(frozen=True)
class SplitPairs:
    """The pairs to prepare."""

    streams: Mapping[Stream, Sequence[Pair]]  # sorted
    skipped: Sequence[Skipped]  # images and labels that have no other half, or a name that is taken
    kept: int  # number of pairs whose split the source says
    drawn: int  # number of pairs whose split was drawn


def split_pairs(config: PrepareConfig) -> SplitPairs:
    """Find all pairs and give each a split; only names are read."""
    found = [entry for root in config.sources for entry in find_pairs(root, Modality.parse(config.modality))]
    skipped = [entry for entry in found if isinstance(entry, Skipped)]
    pairs = [entry for entry in found if isinstance(entry, Pair)]
    validation = _validation_patients(config, [pair for pair in pairs if not pair.split])
    by_name: dict[tuple[str, ...], Pair] = {}
    kept = 0
    for pair in pairs:
        drawn = SPLITS[(pair.modality, pair.dataset, patient_of(pair, config)) in validation]
        name = (pair.split or drawn, pair.modality.value, pair.dataset, pair.name)
        if name in by_name:
            skipped.append(Skipped(pair.source, f"it has the modality, dataset and name of {by_name[name].source}"))
            continue
        by_name[name] = replace(pair, split=name[0])
        kept += bool(pair.split)
    ordered = [by_name[name] for name in sorted(by_name)]
    streams = itertools.groupby(ordered, lambda pair: (pair.split, pair.modality))
    by_stream = {stream: list(of_stream) for stream, of_stream in streams}
    return SplitPairs(by_stream, skipped, kept, len(ordered) - kept)


def patient_of(pair: Pair, config: PrepareConfig) -> str:
    """The first group of the pattern in the pair's name; the whole name if the pattern does not match."""
    match = re.search(config.patient_pattern, pair.name)
    return (match[1] if match else None) or pair.name


def _validation_patients(config: PrepareConfig, pairs: Sequence[Pair]) -> set[tuple[Modality, str, str]]:
    """(modality, data set, patient) of validation: the first patients of each data set by a hash of (seed, patient).

    The data set is not hashed: if several hold the same patients, a patient tends to have the same split in all.
    """
    patients: dict[tuple[Modality, str], set[str]] = {}
    for pair in pairs:
        patients.setdefault((pair.modality, pair.dataset), set()).add(patient_of(pair, config))
    chosen = set()
    for (modality, dataset), names in patients.items():
        ordered = sorted(names, key=lambda name: (uniform(config.seed, "split", name), name))
        chosen |= {(modality, dataset, name) for name in ordered[: int(len(names) * config.validation + 0.5)]}
    return chosen


def uniform(*names: str | int) -> float:
    """A pseudo-random number in [0, 1) that depends on the names alone."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
