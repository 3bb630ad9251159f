"""Image/mask folders and shards as training and validation data.

ROOT/<Modality>/<dataset>/images/*.jpg|png|…      8-bit grey or colour
ROOT/<Modality>/<dataset>/masks/<same stem>.png   label map: 0 background, 1..N one value per object
or
ROOT/*.tar                                        as `train prepare` writes them, see shards.py
"""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.geometry import Geometry, boxes_from_masks
from medsam_edge.modality import Modality
from medsam_edge_train.augment import Augmentation
from medsam_edge_train.models.class_prompt import one_hot
from medsam_edge_train.shards import Blob, shard_index

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]

POSES = 100  # draws of one sample before the data are called empty
MINIMUM_OBJECT_PIXELS = 10  # of the network's square; the challenge drops 2D objects below it
CACHE_BYTES = 4 << 30  # of images that a process keeps; those seen later are read each time
CACHE_ZOOM = 1.25  # images are kept in memory this much larger than the square, so that zooming in stays sharp


class Case(NamedTuple):
    """One image with its label map."""

    image: Blob
    mask: Blob
    modality: Modality
    dataset: str
    key: str  # names the case, the same each time; unique below the root it was found in


def find_cases(root: Path) -> list[Case]:
    """Every image that has a mask, sorted: of the tars in a folder when there are any, else of a folder tree.

    Raises:
        FileMissingError: the folder does not exist.
        ImageError: it holds no pair in one of the layouts above, or a damaged tar.
        ModalityError: a top-level folder is no modality.
    """
    if not root.is_dir():
        raise FileMissingError(f"data: expected a folder, got {root}")
    samples = shard_index(root)
    cases = [_shard_case(key, members) for key, members in samples.items()] if samples else list(_folder_cases(root))
    if not cases:
        raise ImageError(f"data: expected {root}/<Modality>/<dataset>/images and masks, or {root}/*.tar, found no pair")
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
    """(H, W) or (H, W, 3) RGB uint8, and (H, W) int32 labels of the same size.

    Raises:
        ImageError: either file cannot be read, the image is not of 8 bits, or the sizes differ.
    """
    image = _decode(case.image, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype != np.uint8:
        raise ImageError(f"data: expected 8 bits, as `train prepare` makes them, {case.image} has {image.dtype}")
    labels = _decode(case.mask, cv2.IMREAD_UNCHANGED)
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


class Sample(NamedTuple):
    """One image at network size with some of its objects."""

    image: Tensor  # (3, S, S) float32 in [0, 1]
    boxes: Tensor  # (K, 4) float32, pixels of the S frame
    masks: Tensor  # (K, S, S) bool
    modality: Modality
    told: bool = True  # whether a class-prompt network is told the modality, or must find it out


class Batch(NamedTuple):
    """Images, and the objects of all of them in one list."""

    images: Tensor  # (B, 3, S, S)
    boxes: Tensor  # (N, 4)
    masks: Tensor  # (N, S, S) bool
    image_index: Tensor  # (N,) int64, which image each object is on
    classes: Tensor  # (B, 11) float32, one-hot modality of each image in the order of `CLASSES`
    told: Tensor  # (B, 11) float32, the same, a row of zeros where the modality is withheld


def collate(samples: Sequence[Sample]) -> Batch:
    counts = torch.tensor([len(sample.boxes) for sample in samples])
    classes = one_hot([sample.modality for sample in samples])
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.cat([sample.boxes for sample in samples]),
        torch.cat([sample.masks for sample in samples]),
        torch.arange(len(samples)).repeat_interleave(counts),
        classes,
        classes * torch.tensor([[float(sample.told)] for sample in samples]),
    )


def is_of_crops(epoch: int) -> bool:
    """Three epochs of crops, then one of whole images, which keeps the network used to them."""
    return epoch % 4 != 3


@dataclass
class TrainingData(Dataset[Sample]):
    """Augmented samples. An index is (epoch, position, case), so that every draw can be repeated exactly.

    Args:
        size: side of the square that a whole image fills.
        withhold: share of images whose modality is not told.
        crop_size: side of the crops that `is_of_crops` epochs show at the same scale; 0 for whole images throughout.
    """

    cases: Sequence[Case]
    size: int
    boxes_per_image: int
    seed: int
    augmentation: Augmentation
    withhold: float = 0.0
    crop_size: int = 0
    _cache: dict[int, tuple[Pixels, npt.NDArray[np.uint16]]] = field(default_factory=dict)
    _cached_bytes: int = 0

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: tuple[int, int, int]) -> Sample:
        epoch, position, index = draw
        crop = self.crop_size > 0 and is_of_crops(epoch)
        side = self.crop_size if crop else self.size
        rng = np.random.default_rng((self.seed, epoch, position))
        image, labels = self._load(index)
        for _ in range(POSES):
            if crop and labels.any():
                warped, warped_labels = self.augmentation.crop(image, labels, side, self.size, rng)
            else:
                warped, warped_labels = self.augmentation.warp(image, labels, side, rng)
            values, counts = np.unique(warped_labels[warped_labels > 0], return_counts=True)
            values = values[counts >= MINIMUM_OBJECT_PIXELS]
            if len(values):
                break
            # every object was moved out of the frame: draw another pose of a random image
            index = int(rng.integers(len(self.cases)))
            image, labels = self._load(index)
        else:
            raise ImageError(f"data: no object of {MINIMUM_OBJECT_PIXELS} pixels in {POSES} draws")
        chosen = rng.permutation(values)[: self.boxes_per_image]
        masks = warped_labels[None] == chosen[:, None, None]  # (K, S, S)
        boxes = np.concatenate([boxes_from_masks(mask.astype(np.int32)) for mask in masks])
        return Sample(
            torch.from_numpy(self.augmentation.intensity(warped, self.cases[index].modality, rng)),
            torch.from_numpy(self.augmentation.jitter(boxes, side, self.size, rng)),
            torch.from_numpy(masks),
            self.cases[index].modality,
            bool(rng.random() >= self.withhold),
        )

    def _load(self, index: int) -> tuple[Pixels, Labels]:
        if index in self._cache:
            image, kept = self._cache[index]
            return image, kept.astype(np.int32)
        image, labels = read_case(self.cases[index])
        shrink = self.size * CACHE_ZOOM / max(labels.shape)
        if shrink < 1:
            side = (max(1, round(labels.shape[1] * shrink)), max(1, round(labels.shape[0] * shrink)))
            image = cv2.resize(image, side, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
            labels = cv2.resize(labels, side, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.int32)
        kept = labels.astype(np.uint16)  # all that a png holds
        if self._cached_bytes + image.nbytes + kept.nbytes <= CACHE_BYTES:
            self._cached_bytes += image.nbytes + kept.nbytes
            self._cache[index] = image, kept
        return image, labels


Draw = tuple[int, int, int]
"""Epoch, position in the epoch, number of the case: all that a sample's random choices depend on, with the seed."""


def case_shares(cases: Sequence[Case], exponent: float) -> npt.NDArray[np.float64]:
    """(N,) probability of each case: a modality's is ∝ (its number of cases) ** exponent, and in it so is a data set's.

    Exponent 0 shows modalities equally often and so the data sets of each, 1 every image equally often.
    """
    datasets = [(case.modality, case.dataset) for case in cases]
    counts = Counter(datasets)
    weights = np.array([counts[dataset] ** (exponent - 1) for dataset in datasets])
    modalities = np.array([case.modality.value for case in cases])
    for modality in np.unique(modalities):
        own = modalities == modality
        weights[own] *= own.sum() ** exponent / weights[own].sum()
    return np.asarray(weights / weights.sum(), dtype=np.float64)


@dataclass
class BalancedSampler(Sampler[Draw]):
    """Draws `length` cases an epoch with the probabilities of `case_shares`.

    Length 0 is a pass: every image once, in random order. The draws depend on (seed, epoch) alone.
    """

    cases: Sequence[Case]
    length: int
    exponent: float
    seed: int
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length or len(self.cases)

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.length:
            drawn = rng.choice(len(self.cases), self.length, p=case_shares(self.cases, self.exponent))
        else:
            drawn = rng.permutation(len(self.cases))
        return ((self.epoch, position, int(index)) for position, index in enumerate(drawn))


@dataclass
class Steps(Sampler[list[Draw]]):
    """Full batches of a sampler's draws, and of each batch the part of one process.

    Args:
        batch_size: images of one step over all processes.
        start: step to begin at; the loader sets it.
    """

    sampler: BalancedSampler
    batch_size: int
    rank: int = 0
    world: int = 1
    start: int = 0

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[list[Draw]]:
        draws, own = list(self.sampler), self.batch_size // self.world
        for step in range(self.start, len(self)):
            first = step * self.batch_size + self.rank * own
            yield draws[first : first + own]


@dataclass
class ValidationData(Dataset[Sample]):
    """Images as the SDK prepares them, tight boxes, at most `boxes_per_image` objects."""

    cases: Sequence[Case]
    size: int
    boxes_per_image: int

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Sample:
        case = self.cases[index]
        image, labels = read_case(case)
        geometry = Geometry.of(labels.shape, self.size)
        small = cv2.resize(labels, (geometry.new_width, geometry.new_height), interpolation=cv2.INTER_NEAREST_EXACT)
        square = np.zeros((self.size, self.size), dtype=np.int32)
        square[: geometry.new_height, : geometry.new_width] = small
        values = np.unique(square[square > 0])[: self.boxes_per_image]
        masks = square[None] == values[:, None, None]
        boxes = [boxes_from_masks(np.where(labels == value, 1, 0)) for value in values]
        return Sample(
            torch.from_numpy(geometry.image_to_network(image)),
            torch.from_numpy(geometry.boxes_to_network(np.concatenate([*boxes, np.zeros((0, 4), np.float32)]))),
            torch.from_numpy(masks),
            case.modality,
        )


def thin(cases: Sequence[Case], per_modality: int) -> list[Case]:
    """At most `per_modality` cases of each modality, evenly spaced, in the order given."""
    kept: set[int] = set()
    for modality in Modality:
        own = [index for index, case in enumerate(cases) if case.modality is modality]
        take = np.linspace(0, len(own) - 1, min(per_modality, len(own))).round().astype(int)
        kept.update(own[index] for index in take)
    return [cases[index] for index in sorted(kept)]
