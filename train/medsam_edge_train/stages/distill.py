"""Pretraining distillation (Rep-MedSAM, section 2.3, eq. 1): the student learns to give the teacher's embeddings."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medsam_edge.errors import InputError
from medsam_edge.geometry import CELL
from medsam_edge_train import checkpoint
from medsam_edge_train.data.cases import Case, find_cases
from medsam_edge_train.data.datasets import is_of_crops
from medsam_edge_train.data.sampling import Draw
from medsam_edge_train.loop.config import RunConfig
from medsam_edge_train.loop.loader import ResumableLoader, step_loader, validation_cases
from medsam_edge_train.loop.module import StageModule
from medsam_edge_train.loop.processes import merge
from medsam_edge_train.loop.trainer import check_output, run
from medsam_edge_train.models import MedSAM
from medsam_edge_train.stages.embed import EmbeddingStore, embedding_key, image_tensor


@dataclass(frozen=True)
class DistillConfig(RunConfig):
    """Settings of `distill`.

    Attributes:
        embeddings: store made by `train embed` from the same data and image_size.
        teacher: checkpoint from which the student copies prompt encoder and mask decoder, as far as they fit, and the
            norm in which the image encoder ends, which gives the embedding its scale.
    """

    embeddings: Path = field(kw_only=True)
    teacher: Path | None = None


class EmbeddedImages(NamedTuple):
    """Images, or crops of them, with the teacher's embeddings of them; one image has no batch axis."""

    images: Tensor  # (B, 3, S, S) float32 in [0, 1], not flipped
    embeddings: Tensor  # (B, 256, S/4, S/4) float16
    flips: Tensor  # (B, 2) bool: left-right, up-down


@dataclass
class DistillData(Dataset[EmbeddedImages]):
    """One image, its embedding and its flips. An index is a draw, or the number of a case for no flips and no crop.

    A crop's embedding is cut out of the image's: the student learns there what the teacher sees around it.

    Args:
        crop_size: side of the crops that `is_of_crops` batches show; 0 for whole images in all.
        batch_size: images of a batch, over all processes.
    """

    cases: Sequence[Case]
    split: str
    store: EmbeddingStore
    seed: int
    crop_size: int = 0
    batch_size: int = 1

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: Draw | int) -> EmbeddedImages:
        if isinstance(draw, int):
            return EmbeddedImages(*self._whole(draw), torch.zeros(2, dtype=torch.bool))
        epoch, position, number = draw
        rng = np.random.default_rng((self.seed, epoch, position))
        flips = torch.from_numpy(rng.random(2) < 0.5)
        image, embedding = self._whole(number)
        if self.crop_size and is_of_crops(position // self.batch_size):
            image, embedding = _crop(image, embedding, self.crop_size // CELL, rng)
        return EmbeddedImages(image, embedding, flips)

    def _whole(self, number: int) -> tuple[Tensor, Tensor]:
        case = self.cases[number]
        return image_tensor(case, self.store.image_size), self.store[embedding_key(self.split, case)]


def _crop(image: Tensor, embedding: Tensor, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The same side × side cells of an image (3, S, S) and its embedding (256, S/4, S/4)."""
    top, left = rng.integers(embedding.shape[-1] - side + 1, size=2).tolist()
    cells = embedding[:, top : top + side, left : left + side]
    return image[:, top * CELL : (top + side) * CELL, left * CELL : (left + side) * CELL], cells


def stack(images: Sequence[EmbeddedImages]) -> EmbeddedImages:
    """Single images as one batch."""
    return EmbeddedImages(*(torch.stack(column) for column in zip(*images, strict=True)))


def flip(maps: Tensor, flips: Tensor) -> Tensor:
    """Mirror each of (B, C, H, W) maps left-right and up-down as its row of flips (B, 2) says. Twice is identity."""
    maps = torch.where(flips[:, 0, None, None, None], maps.flip(-1), maps)
    return torch.where(flips[:, 1, None, None, None], maps.flip(-2), maps)


def freeze_rest(network: MedSAM) -> None:
    """Freeze what the loss does not reach: the class head in the image encoder, and everything outside the encoder."""
    for name, weight in network.named_parameters():
        if not name.startswith("image_encoder.") or ".class_prediction_head." in name:
            weight.requires_grad_(False)


def copy_decoder(teacher: Path, network: MedSAM) -> list[str]:
    """Copy a teacher's prompt encoder and mask decoder, as far as they fit (Rep-MedSAM, section 2.3); returns what does
    not, one line for each kind of mismatch."""
    state = checkpoint.read(teacher).state
    parts = {key: value for key, value in state.items() if not key.startswith("image_encoder.")}
    own = {key: value for key, value in network.state_dict().items() if key.startswith("image_encoder.")}
    return checkpoint.load_state(network, {**own, **parts}, "the student", partial=True)


LAST_NORMS = ("image_encoder.neck.3", "image_encoder.neck.norm")
"""The norm over channels in which an image encoder ends: of SAM's neck, and of the feature pyramid."""


def copy_norm(teacher: Path, network: MedSAM) -> str:
    """Start the norm in which the student's encoder ends from the teacher's weight and bias, if there are two of one
    shape; returns what was done, in a line.

    The teacher's are its embedding's scale: LiteMedSAM's mean square is a hundredth of that of a new norm.
    """
    state, own = checkpoint.read(teacher).state, network.state_dict()
    theirs, ours = _last_norm(state), _last_norm(own)
    if theirs is None or ours is None:
        return f"the last norm is not copied: the {'student' if ours is None else 'teacher'}'s encoder ends in none"
    pairs = [(own[f"{ours}.{kind}"], state[f"{theirs}.{kind}"]) for kind in ("weight", "bias")]
    for target, source in pairs:
        if target.shape != source.shape:
            return f"the last norm is not copied: expected shape {tuple(target.shape)}, got {tuple(source.shape)}"
    for target, source in pairs:
        target.copy_(source)  # a state dict has the network's own memory
    return f"{ours} starts from {theirs}"


def _last_norm(keys: Iterable[str]) -> str | None:
    """Which of `LAST_NORMS` has weight and bias among these keys."""
    return next((norm for norm in LAST_NORMS if {f"{norm}.weight", f"{norm}.bias"} <= set(keys)), None)


class DistillModule(StageModule):
    """The student. It sees flipped images; its embedding is flipped back before it is compared with the teacher's."""

    headline = "val_mse"

    def __init__(self, config: DistillConfig) -> None:
        super().__init__(config)
        if config.teacher is not None:
            for line in (*copy_decoder(config.teacher, self.network), copy_norm(config.teacher, self.network)):
                print(f"teacher: {line}", file=sys.stderr)
        freeze_rest(self.network)
        # number of images, sum of their mean squared errors, sum of the mean squares of the teacher's embeddings
        self._sums: dict[str, list[float]] = {}

    def training_step(self, batch: EmbeddedImages, _: int) -> Tensor:
        student = flip(self.network.image_encoder(flip(batch.images, batch.flips)).float(), batch.flips)
        loss = torch.nn.functional.mse_loss(student, batch.embeddings.float())
        self.track("train_loss", loss, len(batch.images))
        return loss

    def validation_step(self, batch: EmbeddedImages, _: int) -> None:
        student, teacher = self.network.image_encoder(batch.images).float(), batch.embeddings.float()
        error, power = (maps.square().mean((1, 2, 3)).sum() for maps in (student - teacher, teacher))
        row = [float(len(teacher)), float(error), float(power)]
        self._sums["all"] = [a + b for a, b in zip(self._sums.get("all", [0.0] * 3), row, strict=True)]

    def scores(self) -> dict[str, float]:
        """`val_mse`, and its ratio to the teacher's mean square: a student that always gives zeros has ratio 1."""
        images, error, power = merge(self._sums)["all"]
        self._sums.clear()
        return {"val_mse": error / images, "val_mse_share": error / power, "val_score": -error / images}


def distill(config: DistillConfig, resume: bool = False) -> Path | None:
    """Train the image encoder on stored embeddings; returns what `loop.trainer.run` does.

    Raises:
        InputError: no run to resume, a run would be overwritten, or an image has no embedding of the right size.
    """
    check_output(config, resume)
    training, validation = loaders(config)
    pl.seed_everything(config.seed, verbose=False)
    return run(DistillModule(config), training, validation, resume)


def loaders(config: DistillConfig) -> tuple[ResumableLoader, DataLoader[Any]]:
    """Training batches and validation images. Raises the errors of `distill` about its data."""
    store = EmbeddingStore(config.embeddings)
    if store.image_size != config.image_size:
        raise InputError(f"image_size: the embeddings are of {store.image_size}, got {config.image_size}")
    cases, held_out = find_cases(config.data / "train"), validation_cases(config)
    for split, of_split in (("train", cases), ("val", held_out)):
        store.check([embedding_key(split, case) for case in of_split])
    drawn = DistillData(cases, "train", store, config.seed, config.crop_size, config.batch_size)
    training = step_loader(config, drawn, cases, stack)
    dataset = DistillData(held_out, "val", store, config.seed)
    return training, DataLoader(dataset, batch_size=8, collate_fn=stack, generator=torch.Generator())
