"""Samples for training and validation: images at network size, with boxes made from masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError
from medsam_edge.geometry import Geometry
from medsam_edge.modality import Modality
from medsam_edge_train.data.augment import Augmentation
from medsam_edge_train.data.cases import Case, Labels, Pixels, read_case
from medsam_edge_train.data.sampling import Draw
from medsam_edge_train.models.class_prompt import one_hot

POSES = 100  # random poses of one sample, after which the data count as empty
MINIMUM_OBJECT_PIXELS = 10  # at network size; the challenge drops smaller 2D objects
CACHE_BYTES = 4 << 30  # memory of each process for images; images beyond it are read each time
CACHE_ZOOM = 1.25  # images in memory are larger than the square by this factor, so that zooming in stays sharp


class Sample(NamedTuple):
    """One image at network size with some of its objects."""

    image: Tensor  # (3, S, S) float32 in [0, 1]
    boxes: Tensor  # (K, 4) float32, pixels of the S frame
    masks: Tensor  # (K, S, S) bool
    modality: Modality
    modality_given: bool = True  # whether a class-prompt network gets the modality or must recognise it


class Batch(NamedTuple):
    """Images, and the objects of all of them in one list."""

    images: Tensor  # (B, 3, S, S) float32 in [0, 1]
    boxes: Tensor  # (N, 4) float32, pixels of the S frame
    masks: Tensor  # (N, S, S) bool
    image_index: Tensor  # (N,) int64, the image of each object
    classes: Tensor  # (B, 11) float32, one-hot modality of each image in the order of `CLASSES`
    given_classes: Tensor  # (B, 11) float32, the same with a row of zeros where the modality is withheld


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples as one batch; N is the number of objects of all of them."""
    counts = torch.tensor([len(sample.boxes) for sample in samples])
    classes = one_hot([sample.modality for sample in samples])
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.cat([sample.boxes for sample in samples]),
        torch.cat([sample.masks for sample in samples]),
        torch.arange(len(samples)).repeat_interleave(counts),
        classes,
        classes * torch.tensor([[float(sample.modality_given)] for sample in samples]),
    )


def is_of_crops(epoch: int) -> bool:
    """Three epochs of crops, then one of whole images, so that the network does not forget whole images."""
    return epoch % 4 != 3


@dataclass
class TrainingData(Dataset[Sample]):
    """Augmented samples. An index is (epoch, position, case), so that every draw can be repeated exactly.

    Args:
        size: side of the square that a whole image fills.
        withhold: share of images whose modality is withheld.
        crop_size: side of the crops that `is_of_crops` epochs show at the same scale; 0 for whole images in all epochs.
    """

    cases: Sequence[Case]
    size: int
    boxes_per_image: int
    seed: int
    augmentation: Augmentation
    withhold: float = 0.0
    crop_size: int = 0
    _cache: dict[int, tuple[Pixels, npt.NDArray[np.uint16]]] = field(init=False, default_factory=dict)
    _cached_bytes: int = field(init=False, default=0)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: Draw) -> Sample:
        epoch, position, index = draw
        crop = self.crop_size > 0 and is_of_crops(epoch)
        side = self.crop_size if crop else self.size
        rng = np.random.default_rng((self.seed, epoch, position))
        for _ in range(POSES):
            image, labels = self._load(index)
            if crop and labels.any():
                image, labels = self.augmentation.crop(image, labels, side, self.size, rng)
            else:
                image, labels = self.augmentation.warp(image, labels, side, rng)
            values, counts = np.unique(labels[labels > 0], return_counts=True)
            values = values[counts >= MINIMUM_OBJECT_PIXELS]
            if len(values):
                break
            index = int(rng.integers(len(self.cases)))  # no object is left in the frame: try a random image
        else:
            raise ImageError(f"data: no object of {MINIMUM_OBJECT_PIXELS} pixels in {POSES} draws")
        chosen = rng.permutation(values)[: self.boxes_per_image]
        masks = labels[None] == chosen[:, None, None]  # (K, S, S)
        boxes = np.concatenate([boxes_from_masks(mask.astype(np.int32)) for mask in masks])
        return Sample(
            torch.from_numpy(self.augmentation.intensity(image, self.cases[index].modality, rng)),
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
        kept = labels.astype(np.uint16)  # a png holds no larger values
        if self._cached_bytes + image.nbytes + kept.nbytes <= CACHE_BYTES:
            self._cached_bytes += image.nbytes + kept.nbytes
            self._cache[index] = image, kept
        return image, labels


@dataclass
class ValidationData(Dataset[Sample]):
    """Images as the sdk prepares them, with tight boxes of the first `boxes_per_image` objects.

    An image without objects gives boxes (0, 4) and masks (0, S, S).
    """

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
