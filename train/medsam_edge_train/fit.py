"""Whole-pipeline training: image/mask folders in, checkpoint out."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from medsam_edge.errors import InputError
from medsam_edge.modality import Modality
from medsam_edge_train import checkpoint
from medsam_edge_train.augment import Augmentation
from medsam_edge_train.data import (
    BalancedSampler,
    Batch,
    Sample,
    TrainingData,
    ValidationData,
    collate,
    find_cases,
    thin,
)
from medsam_edge_train.losses import batch_dice, iou_loss, mask_loss
from medsam_edge_train.models import TEACHER, build
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM, one_hot
from medsam_edge_train.models.medsam import Prediction

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class FitConfig:
    """Settings of one training run.

    Attributes:
        data: folder with `train/` and `val/` in the layout of `data.py`.
        output: folder for logs, `last.ckpt` (to resume) and `best.safetensors` (to convert).
        architecture: a name of the zoo.
        init: checkpoint to start from; None for random weights.
        image_size: side of the training square, a multiple of 64; the network is used at 256.
        epochs, images_per_epoch: an epoch is a number of draws, not a pass over the data; a checkpoint ends it.
        learning_rate: AdamW's, after a linear warm-up.
        schedule: `cosine` to zero over all epochs, or `constant` (then a run can be stopped and extended at will).
        withhold_modality: share of training images whose modality a class-prompt network must find out itself.
        balance: exponent of the modalities' shares, see `BalancedSampler`.
        ema: decay of the averaged weights that are validated and saved; 0 for none.
        val_per_modality, val_boxes: the part of `val/` that is looked at after each epoch.
        precision: `auto` takes bf16 where the CPU or GPU computes in it, else f32.
    """

    data: Path
    output: Path
    architecture: str = "rep_medsam_s"
    init: Path | None = None
    image_size: int = 256
    epochs: int = 40
    images_per_epoch: int = 2000
    batch_size: int = 16
    boxes_per_image: int = 3
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_steps: int = 200
    schedule: str = "cosine"
    gradient_clip: float = 1.0
    withhold_modality: float = 0.5
    balance: float = 0.5
    ema: float = 0.998
    val_per_modality: int = 20
    val_boxes: int = 6
    workers: int = 1
    precision: str = "auto"
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.architecture == TEACHER:
            raise InputError(f"architecture: {TEACHER} is a teacher and cannot be trained here")
        if self.image_size < 64 or self.image_size % 64:
            raise InputError(f"image_size: expected a positive multiple of 64, got {self.image_size}")
        if self.schedule not in ("cosine", "constant"):
            raise InputError(f"schedule: expected 'cosine' or 'constant', got {self.schedule!r}")
        for name in ("epochs", "batch_size", "boxes_per_image", "val_per_modality", "val_boxes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.images_per_epoch < self.batch_size:
            raise InputError(f"images_per_epoch: expected at least batch_size, got {self.images_per_epoch}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")


class PipelineModule(pl.LightningModule):
    """The network with its loss, optimizer and validation score."""

    def __init__(self, config: FitConfig) -> None:
        super().__init__()
        self.config = config
        self.network = build(config.architecture)
        if config.init is not None:
            checkpoint.load_state(self.network, checkpoint.read(config.init).state, config.architecture)
        self._scores: dict[Modality, list[float]] = {}

    def training_step(self, batch: Batch, _: int) -> Tensor:
        told = batch.classes * (torch.rand(len(batch.classes), 1) >= self.config.withhold_modality).to(batch.classes)
        prediction = self._predict(batch.images, batch.boxes, batch.image_index, told)
        logits, scores = prediction.logits.float(), prediction.scores.float()
        loss = mask_loss(logits, batch.masks) + iou_loss(scores, logits, batch.masks)
        if prediction.class_logits is not None:
            loss = loss + torch.nn.functional.cross_entropy(prediction.class_logits.float(), batch.classes)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.images))
        dice = batch_dice(logits.detach(), batch.masks).mean()
        self.log("train_dsc", dice, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.images))
        return loss

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
            prediction = self._predict(sample.image[None], sample.boxes, index, told)
            scores = self._scores.setdefault(sample.modality, [])
            scores += batch_dice(prediction.logits, sample.masks).tolist()
            if prediction.class_logits is not None:
                hit = (prediction.class_logits.argmax(1) == told.argmax(1)).float().mean()
                self.log("val_class_accuracy", hit, on_epoch=True, batch_size=1)

    def on_validation_epoch_end(self) -> None:
        means = {modality: sum(scores) / len(scores) for modality, scores in self._scores.items() if scores}
        for modality, mean in means.items():
            self.log(f"val_dsc/{modality}", mean)
        self.log("val_dsc", sum(means.values()) / max(1, len(means)), prog_bar=True)
        self._scores.clear()

    def configure_optimizers(self) -> Any:
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate)
        warmup = self.config.warmup_steps
        total = max(warmup + 1, int(self.trainer.estimated_stepping_batches))

        def factor(step: int) -> float:
            rise = min(1.0, (step + 1) / max(1, warmup))
            if self.config.schedule == "constant":
                return rise
            progress = min(1.0, max(0.0, (step - warmup) / (total - warmup)))
            return rise * 0.5 * (1 + float(torch.cos(torch.tensor(progress * torch.pi))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Averaging(EMAWeightAveraging):
    """Keeps the averaged weights in place until `on_validation_end`, where `BestCheckpoint` writes them."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not yet."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)


class BestCheckpoint(pl.Callback):
    """Writes the validated (averaged) weights as `best.safetensors` whenever the mean DSC has risen."""

    def __init__(self) -> None:
        self.best = float("-inf")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        module = cast(PipelineModule, pl_module)
        score = float(trainer.callback_metrics["val_dsc"])
        print(f"epoch {trainer.current_epoch}: val_dsc {score:.4f}", file=sys.stderr, flush=True)
        if score > self.best:
            self.best = score
            metadata = {
                "val_dsc": f"{score:.4f}",
                "epoch": str(trainer.current_epoch),
                "step": str(trainer.global_step),
            }
            path = module.config.output / "best.safetensors"
            checkpoint.write(path, module.network, module.config.architecture, metadata)


def fit(config: FitConfig, resume: bool = False) -> Path:
    """Train.

    Args:
        resume: continue from `output/last.ckpt`; it must exist.

    Returns:
        The best checkpoint, `output/best.safetensors`.

    Raises:
        InputError: there is nothing to resume, or a run would be overwritten.
    """
    last = config.output / "last.ckpt"
    if resume != last.exists():
        state = "no run to resume" if resume else "a run that --resume would continue"
        raise InputError(f"output: {config.output} holds {state}")
    training, validation = _training_loader(config), _validation_loader(config)  # before anything is written
    with _quiet_lightning():
        pl.seed_everything(config.seed, verbose=False)
        module = PipelineModule(config)
        _trainer(config).fit(module, training, validation, ckpt_path=last if resume else None)
    return config.output / "best.safetensors"


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice and the deprecations inside it, which a user can do nothing about."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            yield
    finally:
        logger.setLevel(level)


def _trainer(config: FitConfig) -> pl.Trainer:
    config.output.mkdir(parents=True, exist_ok=True)
    keep_last = ModelCheckpoint(config.output, filename="last", enable_version_counter=False)
    callbacks: list[pl.Callback] = [keep_last, BestCheckpoint()]
    if config.ema > 0:
        callbacks.append(Averaging(decay=config.ema))  # after BestCheckpoint
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar())
    return pl.Trainer(
        accelerator="auto",
        precision=cast(Any, choose_precision(config.precision)),
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
        logger=CSVLogger(config.output, name="log"),
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=10,
    )


def choose_precision(wanted: str) -> str:
    """Lightning's name of the precision: `auto` is bf16 on hardware that multiplies in it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if fast else "32-true"


def _training_loader(config: FitConfig) -> DataLoader[Batch]:
    cases = find_cases(config.data / "train")
    dataset = TrainingData(cases, config.image_size, config.boxes_per_image, config.seed, config.augmentation)
    return DataLoader(
        cast(Any, dataset),
        batch_size=config.batch_size,
        sampler=BalancedSampler(cases, config.images_per_epoch, config.balance, config.seed),
        drop_last=True,
        collate_fn=collate,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
    )


def _validation_loader(config: FitConfig) -> DataLoader[Any]:
    cases = thin(find_cases(config.data / "val"), config.val_per_modality)
    dataset = ValidationData(cases, config.image_size, config.val_boxes)
    return DataLoader(cast(Any, dataset), batch_size=8, collate_fn=list)
