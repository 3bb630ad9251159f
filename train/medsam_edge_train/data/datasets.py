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
from medsam_edge_train.data.following import NEIGHBOURS, Following, neighbours_of
from medsam_edge_train.data.pasting import paste
from medsam_edge_train.data.sampling import Draw
from medsam_edge_train.data.superpixels import superpixels
from medsam_edge_train.models.class_prompt import one_hot

POSES = 100  # random poses of one sample, after which the data count as empty
MINIMUM_OBJECT_PIXELS = 10  # at network size; the challenge drops smaller 2D objects
WHOLE_EVERY = 8  # of so many batches, one shows whole images
CACHE_BYTES = 4 << 30  # memory of each process for images; images beyond it are read each time
CACHE_ZOOM = 1.25  # images in memory are larger than the square by this factor, so that zooming in stays sharp


class Sample(NamedTuple):
    """One image at network size with some of its objects."""

    image: Tensor  # (3, S, S) float32 in [0, 1]
    boxes: Tensor  # (K, 4) float32, pixels of the S frame
    masks: Tensor  # (K, S, S) bool
    modality: Modality
    modality_given: bool = True  # whether a class-prompt network gets the modality or must recognise it
    priors: Tensor | None = None  # (K, S, S) float32 logits of mask prompts, if any object has one
    has_prior: Tensor | None = None  # (K,) float32, 1 where an object has one


class Batch(NamedTuple):
    """Images, and the objects of all of them in one list."""

    images: Tensor  # (B, 3, S, S) float32 in [0, 1]
    boxes: Tensor  # (N, 4) float32, pixels of the S frame
    masks: Tensor  # (N, S, S) bool
    image_index: Tensor  # (N,) int64, the image of each object
    classes: Tensor  # (B, 11) float32, one-hot modality of each image in the order of `CLASSES`
    given_classes: Tensor  # (B, 11) float32, the same with a row of zeros where the modality is withheld
    priors: Tensor | None = None  # (N, S, S) float32 logits of mask prompts, if any object has one
    has_prior: Tensor | None = None  # (N,) float32, 1 where an object has one


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples as one batch; N is the number of objects of all of them."""
    counts = torch.tensor([len(sample.boxes) for sample in samples])
    classes = one_hot([sample.modality for sample in samples])
    priors, has_prior = None, None
    if any(sample.priors is not None for sample in samples):
        masks = [torch.zeros(sample.masks.shape) if sample.priors is None else sample.priors for sample in samples]
        given = [torch.zeros(len(s.boxes)) if s.has_prior is None else s.has_prior for s in samples]
        priors, has_prior = torch.cat(masks), torch.cat(given)
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.cat([sample.boxes for sample in samples]),
        torch.cat([sample.masks for sample in samples]),
        torch.arange(len(samples)).repeat_interleave(counts),
        classes,
        classes * torch.tensor([[float(sample.modality_given)] for sample in samples]),
        priors,
        has_prior,
    )


def is_of_crops(step: int) -> bool:
    """Seven batches of crops, then one of whole images, so that the network does not forget whole images."""
    return step % WHOLE_EVERY != WHOLE_EVERY - 1


@dataclass
class TrainingData(Dataset[Sample]):
    """Augmented samples. An index is (epoch, position, case), so that every draw can be repeated exactly.

    Args:
        size: side of the square that a whole image fills.
        withhold: share of images whose modality is withheld.
        crop_size: side of the crops that `is_of_crops` batches show at the same scale; 0 for whole images in all.
        batch_size: images of a batch, over all processes.
        synthetic: share of images whose label is superpixels of the image, not its mask; always so without a mask.
        scales: range of the superpixels' scale.
        following: shares of samples with mask prompts.
        paste: share of images that show a pasted object, which is then among those asked for; their other labels are
            their masks', never superpixels.
    """

    cases: Sequence[Case]
    size: int
    boxes_per_image: int
    seed: int
    augmentation: Augmentation
    withhold: float = 0.0
    crop_size: int = 0
    batch_size: int = 1
    synthetic: float = 0.0
    scales: tuple[float, float] = (20.0, 500.0)
    following: Following = field(default_factory=Following)
    paste: float = 0.0
    _near: dict[int, dict[int, int]] = field(init=False)
    _cache: dict[int, tuple[Pixels, npt.NDArray[np.uint16]]] = field(init=False, default_factory=dict)
    _cached_bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._near = neighbours_of(self.cases) if self.following.follow else {}

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: Draw) -> Sample:
        epoch, position, index = draw
        crop = self.crop_size > 0 and is_of_crops(position // self.batch_size)
        side = self.crop_size if crop else self.size
        rng = np.random.default_rng((self.seed, epoch, position))
        follows = self.following.follow > 0 and rng.random() < self.following.follow
        pasted = self.paste > 0 and rng.random() < self.paste
        for _ in range(POSES):
            image, labels = self._load(index)
            synthetic = not pasted and self._is_synthetic(index, rng)
            before = None if pasted or synthetic or not follows else self._neighbour(index, labels, rng)
            anywhere = synthetic or (pasted and not labels.any())
            if anywhere and crop:
                labels = _anywhere(labels.shape, rng)
            if before is not None:
                labels = np.stack([labels, before], axis=-1)  # both go through the same map
            if crop and labels.any():
                image, labels = self.augmentation.crop(image, labels, side, self.size, rng)
            else:
                image, labels = self.augmentation.warp(image, labels, side, rng)
            if before is not None:
                labels, before = labels[..., 0], labels[..., 1]
            if synthetic:
                labels = superpixels(image, self.scales, rng)
            if pasted:
                labels = np.zeros_like(labels) if anywhere else labels
                image, labels = paste(image, labels, self._texture(index, rng), rng)
            values = self._values(labels, before, rng)
            if len(values):
                break
            index = int(rng.integers(len(self.cases)))  # no object is left in the frame: try a random image
        else:
            raise ImageError(f"data: no object of {MINIMUM_OBJECT_PIXELS} pixels in {POSES} draws")
        order = rng.permutation(values)
        if pasted:
            order = order[np.argsort(order != labels.max(), kind="stable")]  # the pasted object first
        chosen = order[: self.boxes_per_image]
        masks = labels[None] == chosen[:, None, None]  # (K, S, S)
        sample = Sample(
            torch.from_numpy(self.augmentation.intensity(image, self.cases[index].modality, rng)),
            torch.zeros(0, 4),
            torch.from_numpy(masks),
            self.cases[index].modality,
            bool(rng.random() >= self.withhold),
        )
        if not follows:
            boxes = np.concatenate([boxes_from_masks(mask.astype(np.int32)) for mask in masks])
            return sample._replace(boxes=torch.from_numpy(self.augmentation.jitter(boxes, side, self.size, rng)))
        near = None if before is None else before[None] == chosen[:, None, None]
        boxes, priors = self.following.prompts(masks, near, self.size, rng)
        return sample._replace(
            boxes=torch.from_numpy(boxes), priors=torch.from_numpy(priors), has_prior=torch.ones(len(priors))
        )

    def _is_synthetic(self, index: int, rng: np.random.Generator) -> bool:
        return self.cases[index].mask is None or bool(self.synthetic > 0 and rng.random() < self.synthetic)

    def _texture(self, index: int, rng: np.random.Generator) -> Pixels:
        """A random image other than that of a case, if there is another."""
        count = len(self.cases)
        other = (index + int(rng.integers(1, count))) % count if count > 1 else index
        return self._load(other)[0]

    def _neighbour(self, index: int, labels: Labels, rng: np.random.Generator) -> Labels | None:
        """Labels of a slice near that of a case, of the same size; None where there is none."""
        step = int(rng.choice(NEIGHBOURS)) * (1 if rng.random() < 0.5 else -1)
        near = self._near.get(index, {})
        other = near.get(step, near.get(-step, near.get(1, near.get(-1))))
        before = None if other is None else self._load(other)[1]
        return before if before is not None and before.shape == labels.shape else None

    def _values(self, labels: Labels, before: Labels | None, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        """Objects that can be asked for: on this slice and, where there is one, on its neighbour; or ended ones."""
        values = _large(labels)
        if before is None:
            return values
        there = _large(before)
        ended = np.setdiff1d(there, labels)
        if len(ended) and (rng.random() < self.following.ended or not len(values)):
            return ended
        return np.intersect1d(values, there)

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


def _large(labels: Labels) -> npt.NDArray[np.int32]:
    """Values of the objects that have `MINIMUM_OBJECT_PIXELS`."""
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    return np.asarray(values[counts >= MINIMUM_OBJECT_PIXELS], np.int32)


def _anywhere(shape: tuple[int, ...], rng: np.random.Generator) -> Labels:
    """A rectangle as label map, to crop around: 5 to 60 % of each side, anywhere."""
    labels = np.zeros(shape, np.int32)
    sides = np.maximum(1, (rng.uniform(0.05, 0.6, 2) * shape).astype(int))
    top, left = (rng.random(2) * (np.array(shape) - sides + 1)).astype(int)
    labels[top : top + sides[0], left : left + sides[1]] = 1
    return labels


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
