"""Whole-pipeline training: images, masks and boxes made from the masks in, checkpoint out.

`fit` trains, `finetune` is the same from a trained network with gentler settings.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medsam_edge.errors import InputError
from medsam_edge.modality import Modality
from medsam_edge_train.data.augment import AUGMENTATIONS
from medsam_edge_train.data.cases import Case, find_cases, thin
from medsam_edge_train.data.datasets import Batch, Sample, TrainingData, ValidationData, collate
from medsam_edge_train.loop.config import RunConfig
from medsam_edge_train.loop.loader import ResumableLoader, step_loader, validation_cases
from medsam_edge_train.loop.module import StageModule
from medsam_edge_train.loop.processes import merge
from medsam_edge_train.loop.trainer import check_output, run
from medsam_edge_train.metrics import nsd
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM, one_hot
from medsam_edge_train.models.medsam import MedSAM, Prediction
from medsam_edge_train.models.quantize import calibrate
from medsam_edge_train.stages.losses import batch_dice, bce_loss, dice_loss, focal_loss, iou_loss


@dataclass(frozen=True)
class FitConfig(RunConfig):
    """Settings of `fit` and `finetune`.

    Attributes:
        extra_data: further folders like data, whose train/ is added.
        leave_out: modalities of data that are not trained on; extra_data may bring its own.
        crop_size: side of squares around one object that three of four epochs show instead of whole images, at the same
            scale for less arithmetic; a multiple of 64, 0 for whole images throughout.
        boxes_per_image: most objects per image.
        val_boxes: most objects per validation image.
        augmentation: full, with loose or careless boxes too (full+loose, full+careless), or the papers' flips or
            flips+color.
        pixel_loss: bce (Rep-MedSAM) or focal (class-prompt Tiny-ViT), added to the Dice loss.
        iou_weight: of the predicted IoU's loss; 0 leaves the scores untrained.
        class_weight: of the modality head's cross-entropy, where the network has one.
        withhold_modality: share of training images whose modality a class-prompt network must find out itself.
        qat: train the fused network with the rounding of int8 in its image encoder; needs init.
        select: best by mean DSC, or by the class-prompt paper's rule (accuracy and inference time, equal weights).
    """

    extra_data: tuple[Path, ...] = ()
    leave_out: tuple[str, ...] = ()
    crop_size: int = 0
    boxes_per_image: int = 3
    val_boxes: int = 6
    augmentation: Literal["full", "full+loose", "full+careless", "flips", "flips+color"] = "full"
    pixel_loss: Literal["bce", "focal"] = "bce"
    iou_weight: float = 1.0
    class_weight: float = 1.0
    withhold_modality: float = 0.5
    qat: bool = False
    select: Literal["dsc", "paper"] = "dsc"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_size % 64 or not 0 <= self.crop_size < self.image_size:
            wanted = f"0 or a multiple of 64 below image_size, {self.image_size}"
            raise InputError(f"crop_size: expected {wanted}, got {self.crop_size}")
        if self.qat and self.init is None:
            raise InputError("init: qat starts from a trained checkpoint, got none")
        if not 0 <= self.withhold_modality <= 1:
            raise InputError(f"withhold_modality: expected 0 to 1, got {self.withhold_modality}")
        for name in ("iou_weight", "class_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        for name in ("boxes_per_image", "val_boxes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name, choices in (
            ("augmentation", tuple(AUGMENTATIONS)),
            ("pixel_loss", ("bce", "focal")),
            ("select", ("dsc", "paper")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for modality in self.leave_out:
            Modality.parse(modality)


class PipelineModule(StageModule):
    """The whole network with its loss and validation scores."""

    def __init__(self, config: FitConfig) -> None:
        super().__init__(config)
        self.settings = config
        self._sums: dict[str, list[float]] = {}  # modality → objects, sum of DSC, of NSD, of the Jaccard index
        self._timing: dict[str, list[float]] = {}
        self._hits: dict[str, list[float]] = {}

    def build_network(self) -> MedSAM:
        network, config = super().build_network(), cast(FitConfig, self.config)
        return calibrate(network, calibration_images(config)) if config.qat else network

    def training_step(self, batch: Batch, _: int) -> Tensor:
        count = len(batch.boxes)
        prediction = self._predict(batch.images, batch.boxes, batch.image_index, batch.told)
        logits, scores = prediction.logits.float(), prediction.scores.float()
        pixel_loss = bce_loss if self.settings.pixel_loss == "bce" else focal_loss
        loss = dice_loss(logits, batch.masks) + pixel_loss(logits, batch.masks)
        loss = loss + self.settings.iou_weight * iou_loss(scores, logits, batch.masks)
        entropy = torch.zeros_like(loss)
        if prediction.class_logits is not None:
            entropy = torch.nn.functional.cross_entropy(prediction.class_logits.float(), batch.classes)
        entropy = self.settings.class_weight * entropy
        self.track("train_loss", loss + entropy, count)
        self.track("train_dsc", batch_dice(logits.detach(), batch.masks).mean(), count)
        return loss * self.share_of(count) + entropy

    def _predict(self, images: Tensor, boxes: Tensor, image_index: Tensor, classes: Tensor) -> Prediction:
        if isinstance(self.network, ClassPromptMedSAM):
            return cast(Prediction, self.network(images, boxes, image_index, classes))
        return cast(Prediction, self.network(images, boxes, image_index))

    def validation_step(self, batch: list[Sample], _: int) -> None:
        for sample in batch:
            if len(sample.boxes) == 0:
                continue
            index = torch.zeros(len(sample.boxes), dtype=torch.int64, device=sample.boxes.device)
            told = one_hot([sample.modality]).to(sample.boxes)
            start = time.perf_counter()
            prediction = self._predict(sample.image[None], sample.boxes, index, told)
            finite = prediction.logits.isfinite().flatten(1).all(1) & prediction.scores.isfinite()
            # a network that has diverged gives empty masks, and 0 would be a score
            dice = batch_dice(prediction.logits, sample.masks).where(finite, torch.nan).tolist()
            _add(self._timing, "seconds", [1.0, time.perf_counter() - start])
            masks, truths = (prediction.logits > 0).cpu().numpy(), sample.masks.cpu().numpy()
            surfaces = [nsd(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
            jaccard = [value / (2 - value) for value in dice]
            _add(self._sums, sample.modality.value, [float(len(dice)), sum(dice), sum(surfaces), sum(jaccard)])
            if prediction.class_logits is not None:
                hit = prediction.class_logits.argmax(1) == told.argmax(1)
                _add(self._hits, "images", [1.0, float(hit)])

    def scores(self) -> dict[str, float]:
        """Means over the objects of each modality, and over modalities, of DSC and NSD (2 pixels, at network size)."""
        result: dict[str, float] = {}
        rows = {name: [total / count for total in rest] for name, (count, *rest) in merge(self._sums).items()}
        for name, (dice, surface, _) in rows.items():
            result |= {f"val_dsc/{name}": dice, f"val_nsd/{name}": surface}
        means = [sum(column) / len(rows) for column in zip(*rows.values(), strict=True)] or [0.0, 0.0, 0.0]
        result |= {"val_dsc": means[0], "val_nsd": means[1], "val_score": means[0]}
        images, seconds = merge(self._timing).get("seconds", [1.0, 0.0])
        if self.settings.select == "paper":
            # the paper weighs time like accuracy but gives no scale: 1 at no time, a half at one second an image
            result["val_score"] = (sum(means) / 3 + 1 / (1 + seconds / images)) / 2
        for images, hits in merge(self._hits).values():
            result["val_class_accuracy"] = hits / images
        for sums in (self._sums, self._timing, self._hits):
            sums.clear()
        return result


def _add(sums: dict[str, list[float]], name: str, values: list[float]) -> None:
    so_far = sums.get(name, [0.0] * len(values))
    sums[name] = [a + b for a, b in zip(so_far, values, strict=True)]


def fit(config: FitConfig, resume: bool = False) -> Path | None:
    """Train.

    Args:
        resume: continue from `output/last.ckpt`; it must exist.

    Returns:
        The best checkpoint, `output/best.safetensors`; None when `minutes` were over before the end.

    Raises:
        InputError: there is nothing to resume, or a run would be overwritten.
    """
    check_output(config, resume)
    training, validation = loaders(config)  # before anything is written
    pl.seed_everything(config.seed, verbose=False)
    return run(PipelineModule(config), training, validation, resume)


def finetune(config: FitConfig, resume: bool = False) -> Path | None:
    """`fit`, from a trained network.

    Raises:
        InputError: `init` is missing.
    """
    if config.init is None:
        raise InputError("init: finetune starts from a trained checkpoint, got none")
    return fit(config, resume)


def training_cases(config: FitConfig) -> list[Case]:
    """What `config` trains on.

    Raises:
        InputError: nothing is left.
    """
    left_out = {Modality.parse(modality) for modality in config.leave_out}
    cases = [case for case in find_cases(config.data / "train") if case.modality not in left_out]
    for folder in config.extra_data:
        cases += find_cases(folder / "train")
    if len(cases) < 1:
        raise InputError(f"leave_out: nothing is left of {config.data}")
    return cases


def calibration_images(config: FitConfig) -> Iterator[Tensor]:
    """Training images as the SDK prepares them, (3, S, S) each, of each modality as many as validation takes."""
    data = ValidationData(thin(training_cases(config), config.val_per_modality), config.image_size, config.val_boxes)
    return (data[index].image for index in range(len(data)))


def loaders(config: FitConfig) -> tuple[ResumableLoader, DataLoader[Any]]:
    """Batches to train on and images to validate on; raises what `fit` does of its data."""
    cases = training_cases(config)
    dataset = TrainingData(
        cases,
        config.image_size,
        config.boxes_per_image,
        config.seed,
        AUGMENTATIONS[config.augmentation],
        config.withhold_modality,
        config.crop_size,
    )
    held_out = ValidationData(validation_cases(config), config.image_size, config.val_boxes)
    validation = DataLoader(cast(Any, held_out), batch_size=8, collate_fn=list, generator=torch.Generator())
    return step_loader(config, dataset, cases, collate), validation
