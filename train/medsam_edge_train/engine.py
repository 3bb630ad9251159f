"""What every training stage shares: settings, optimizer, the loop that can be killed and resumed, checkpoints, logs.

One process, or several on one or more machines under `torchrun`: the batch is split, the gradients are averaged, and
the result is that of one process. Every draw follows from (seed, epoch, position), so a resumed run repeats nothing
and skips nothing.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, RichProgressBar
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, distributed
from torch.utils.data import DataLoader

from medsam_edge.errors import InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.curves import BEFORE, draw_curves
from medsam_edge_train.data import BalancedSampler, Case, Steps
from medsam_edge_train.models import TEACHER, MedSAM, build
from medsam_edge_train.models.quantize import is_quantized

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
Schedule = Literal["cosine", "constant", "plateau"]


@dataclass(frozen=True)
class RunConfig:
    """Settings of every training stage.

    Attributes:
        data: folder with train/ and val/, each image/mask folders or shards of `train prepare`.
        output: folder for logs, curves.png, last.ckpt (to resume) and best.safetensors (to go on with).
        architecture: network, a name of the zoo.
        init: checkpoint to start from; none for random weights.
        partial_init: take from init what fits and report the rest, instead of refusing a mismatch.
        freeze: parts that are not trained: image_encoder, prompt_encoder, mask_decoder.
        image_size: side of the training square, a multiple of 64; the network is used at 256.
        start_size: side of the square in the first epochs, for speed; 0 for image_size throughout.
        start_share: share of the epochs at start_size.
        epochs: number of epochs.
        images_per_epoch: draws per epoch, over all processes; 0 for every image once.
        balance: exponent of the modalities' shares: 0 draws modalities equally often, 1 images equally often.
        batch_size: images per step, over all processes.
        learning_rate: AdamW's, after the warm-up.
        weight_decay: AdamW's, on matrices only.
        warmup_steps: steps of linear warm-up (not with plateau).
        schedule: of the rate: cosine to zero, constant, or plateau (lowered when the training loss stops falling).
        plateau_factor: what plateau multiplies the rate by.
        plateau_patience: epochs without a lower loss that plateau waits for.
        gradient_clip: largest norm of the gradient; 0 for none.
        ema: decay of the averaged weights that are validated and saved; 0 for none.
        early_stop: epochs without a better validation score after which the run ends; 0 for never.
        val_per_modality: validation images per modality after each epoch.
        checkpoint_steps: steps between two writings of last.ckpt inside an epoch; 0 for epoch ends only.
        minutes: wall time after which the run ends, at a step, so that it can be resumed; 0 for none.
        workers: processes that prepare images.
        precision: auto takes bf16 where the CPU or GPU computes in it, else f32.
        seed: of weights, draws and augmentation.
    """

    data: Path
    output: Path
    architecture: str = "efficient_medsam"
    init: Path | None = None
    partial_init: bool = False
    freeze: tuple[str, ...] = ()
    image_size: int = 256
    start_size: int = 0
    start_share: float = 0.8
    epochs: int = 40
    images_per_epoch: int = 2000
    balance: float = 0.5
    batch_size: int = 16
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_steps: int = 200
    schedule: Schedule = "cosine"
    plateau_factor: float = 0.5
    plateau_patience: int = 1
    gradient_clip: float = 1.0
    ema: float = 0.998
    early_stop: int = 0
    val_per_modality: int = 20
    checkpoint_steps: int = 0
    minutes: float = 0.0
    workers: int = 1
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.architecture == TEACHER:
            raise InputError(f"architecture: {TEACHER} is a teacher and cannot be trained here")
        if self.image_size < 64 or self.image_size % 64:
            raise InputError(f"image_size: expected a positive multiple of 64, got {self.image_size}")
        if self.start_size < 0 or self.start_size % 64:
            raise InputError(f"start_size: expected 0 or a multiple of 64, got {self.start_size}")
        if self.schedule not in ("cosine", "constant", "plateau"):
            raise InputError(f"schedule: expected 'cosine', 'constant' or 'plateau', got {self.schedule!r}")
        if self.schedule == "plateau" and self.warmup_steps:
            raise InputError(f"warmup_steps: the plateau schedule has none, expected 0, got {self.warmup_steps}")
        for name in ("epochs", "batch_size", "val_per_modality"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if 0 != self.images_per_epoch < self.batch_size:
            raise InputError(f"images_per_epoch: expected 0 or at least batch_size, got {self.images_per_epoch}")
        if not 0 <= self.minutes < float("inf"):
            raise InputError(f"minutes: expected 0 or more, got {self.minutes}")
        if self.batch_size % world_size():
            raise InputError(f"batch_size: expected a multiple of the {world_size()} processes, got {self.batch_size}")
        parts = ("image_encoder", "prompt_encoder", "mask_decoder")
        if unknown := set(self.freeze) - set(parts):
            raise InputError(f"freeze: expected some of {', '.join(parts)}, got {', '.join(sorted(unknown))}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: expected one of {', '.join(PRECISIONS)}, got {self.precision!r}")

    @property
    def sizes(self) -> list[int]:
        """Side of the training square in each epoch."""
        small = round(self.epochs * self.start_share) if self.start_size else 0
        return [self.start_size] * small + [self.image_size] * (self.epochs - small)


def world_size() -> int:
    """Number of processes `torchrun` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number among them."""
    return int(os.environ.get("RANK", "0"))


class StageModule(pl.LightningModule):
    """A network in training. A stage adds `training_step`, `validation_step` and `scores`."""

    headline = "val_dsc"
    """The validation metric that is printed after each epoch."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.config = config
        self.network = self.build_network()
        # faster on a CPU; torch's types do not know that a module takes the argument alone
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in config.freeze:
            self.network.get_submodule(part).requires_grad_(False)
        self.train()
        self._running: dict[str, list[float]] = {}  # training metrics of this epoch so far: [sum, weight]
        self._plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self._plateau_state: dict[str, Any] | None = None
        self._resumed: dict[str, Any] | None = None

    def build_network(self) -> MedSAM:
        """The network as training starts.

        Raises:
            CheckpointError: `init` does not match.
            InputError: `init` is quantized already.
        """
        network = build(self.config.architecture).reparameterize()
        if self.config.init is not None:
            state = checkpoint.read(self.config.init).state
            if is_quantized(state):
                raise InputError(f"init: {self.config.init} is fused and quantized; give what it was trained from")
            left = checkpoint.load_state(network, state, self.config.architecture, self.config.partial_init)
            for line in left:
                print(f"init: {line}", file=sys.stderr)
        return network

    def train(self, mode: bool = True) -> StageModule:
        """Frozen parts stay in eval mode: their statistics are frozen too."""
        super().train(mode)
        for part in self.config.freeze:
            self.network.get_submodule(part).eval()
        return self

    def scores(self) -> dict[str, float]:
        """Metrics of the finished validation, over all processes; `val_score` (higher is better) selects."""
        raise NotImplementedError

    def share_of(self, count: int) -> float:
        """The factor of this process's mean loss over `count` items that makes the average over processes the mean
        over all items."""
        if world_size() == 1:
            return 1.0
        total = torch.tensor(float(count), device=self.device)
        distributed.all_reduce(total)
        return count * world_size() / float(total)

    def track(self, name: str, value: Tensor, weight: int) -> None:
        """Add to the epoch's mean of a training metric, which is logged at its end."""
        entry = self._running.setdefault(name, [0.0, 0.0])
        entry[0] += float(value.detach()) * weight
        entry[1] += weight

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:
            self._before()
            return
        running = merge(self._running)
        for name, (total, weight) in running.items():
            self.log(name, total / max(weight, 1), prog_bar=True)
        for name, value in self.scores().items():
            self.log(name, value, prog_bar=name == self.headline)
        if self._plateau is not None:
            total, weight = running["train_loss"]
            self._plateau.step(total / max(weight, 1))
            self.log("learning_rate", self._plateau.get_last_lr()[0])
        self._running.clear()

    def _before(self) -> None:
        """Keep the scores before the first step: what training is measured against."""
        scores = self.scores()
        if rank() == 0:
            print(f"before training: {self.headline} {scores[self.headline]:.4f}", file=sys.stderr, flush=True)
            (self.config.output / BEFORE).write_text(json.dumps(scores, indent=1), encoding="utf-8")

    def configure_optimizers(self) -> Any:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        decayed = [p for p in parameters if p.ndim > 1]
        plain = [p for p in parameters if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate)
        if self.config.schedule == "plateau":
            # stepped here and not by Lightning, which does not save it after an epoch's last step
            self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=self.config.plateau_factor, patience=self.config.plateau_patience
            )
            if self._plateau_state is not None:
                self._plateau.load_state_dict(self._plateau_state)
            return optimizer
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["running"] = self._running
        checkpoint["position"] = cast(ResumableLoader, self.trainer.train_dataloader).position
        checkpoint["rng"] = torch.get_rng_state()
        if self._plateau is not None:
            checkpoint["plateau"] = self._plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._running = checkpoint["running"]
        self._plateau_state = checkpoint.get("plateau")
        self._resumed = checkpoint

    def on_train_start(self) -> None:
        if self._resumed is not None:
            cast(ResumableLoader, self.trainer.train_dataloader).position = self._resumed["position"]
            torch.set_rng_state(self._resumed["rng"].cpu())
            self._resumed = None


def merge(sums: dict[str, list[float]]) -> dict[str, list[float]]:
    """Lists of numbers by name, added up over all processes."""
    if world_size() == 1:
        return sums
    gathered: list[Any] = [None] * world_size()
    distributed.all_gather_object(gathered, sums)
    merged: dict[str, list[float]] = {}
    for own in gathered:
        for name, values in own.items():
            so_far = merged.get(name, [0.0] * len(values))
            merged[name] = [a + b for a, b in zip(so_far, values, strict=True)]
    return merged


class ResumableLoader(DataLoader[Any]):
    """A loader that can begin an epoch at any step; its batches come from `Steps`.

    Attributes:
        position: step of the epoch that comes next; set it before the first batch is asked for.
    """

    position = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # nothing happens before the first batch is asked for: Lightning makes iterators before it sets the epoch
        start = self.position % len(self)
        cast(Steps, self.batch_sampler).start = start
        for self.position, batch in enumerate(super().__iter__(), start + 1):
            yield batch


def step_loader(config: RunConfig, dataset: Any, cases: Sequence[Case], collate_samples: Any) -> ResumableLoader:
    """The batches of this process."""
    draws = BalancedSampler(cases, config.images_per_epoch, config.balance, config.seed)
    steps = Steps(draws, config.batch_size, rank(), world_size())
    if not len(steps):
        raise InputError(f"batch_size: expected at most the {len(draws)} images of an epoch, got {config.batch_size}")
    return ResumableLoader(
        dataset,
        batch_sampler=steps,
        collate_fn=collate_samples,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        generator=torch.Generator(),  # its own: making an iterator must not move the global one
    )


class Averaging(EMAWeightAveraging):
    """Keeps the averaged weights in place until `on_validation_end`, where `BestCheckpoint` writes them."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not yet."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)


class BestCheckpoint(pl.Callback):
    """Writes the validated (averaged) weights as `best.safetensors` whenever the validation score has risen."""

    def __init__(self) -> None:
        self.best = float("-inf")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        module = cast(StageModule, pl_module)
        score, headline = (float(trainer.callback_metrics[name]) for name in ("val_score", module.headline))
        print(f"epoch {trainer.current_epoch}: {module.headline} {headline:.4f}", file=sys.stderr, flush=True)
        if score > self.best:
            self.best = score
            metadata = {
                module.headline: f"{headline:.4f}",
                "epoch": str(trainer.current_epoch),
                "step": str(trainer.global_step),
            }
            path = module.config.output / "best.safetensors"
            checkpoint.write(path, module.network, module.config.architecture, metadata)


class TimeIsUp(Exception):  # noqa: N818
    """Ends a run from inside. Lightning's own `should_stop` would validate first, and count the epoch as done."""


class KeepLast(pl.callbacks.Checkpoint):
    """Writes `last.ckpt` at each epoch's end, every `steps` steps, and after `minutes`, when it ends the run; the file
    is replaced whole or not at all."""

    def __init__(self, folder: Path, steps: int, minutes: float) -> None:
        self.folder, self.steps = folder, steps
        self.end = time.monotonic() + 60 * minutes if minutes else None

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # after an epoch's last step validation is still to come: that run ends with its epoch
        ends = self._time_is_up(trainer) and not trainer.is_last_batch
        if ends or (self.steps and trainer.global_step % self.steps == 0):
            self._save(trainer)
        if ends:
            raise TimeIsUp

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            draw_curves(self.folder)
        finished = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if self._time_is_up(trainer) and not finished:
            raise TimeIsUp

    def _time_is_up(self, trainer: pl.Trainer) -> bool:
        """By the first process's clock, so that all processes end at one step."""
        return self.end is not None and bool(trainer.strategy.broadcast(time.monotonic() >= self.end))

    def _save(self, trainer: pl.Trainer) -> None:
        partial = self.folder / "last.ckpt.partial"
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.folder / "last.ckpt")


def run(module: StageModule, training: ResumableLoader, validation: DataLoader[Any], resume: bool) -> Path | None:
    """Train, and return the best checkpoint, `output/best.safetensors`; None when the time was up before the end."""
    config = module.config
    last = config.output / "last.ckpt"
    with quiet_lightning(), suppress(TimeIsUp):
        trainer = make_trainer(config, resume)
        trainer.fit(module, training, validation, ckpt_path=last if resume else None, weights_only=True)
        return config.output / "best.safetensors"
    return None


def check_output(config: RunConfig, resume: bool) -> None:
    """Raise unless there is a run to resume, or none that would be overwritten.

    Raises:
        InputError: naming the folder.
    """
    if resume != (config.output / "last.ckpt").exists():
        state = "no run to resume" if resume else "a run that --resume would continue"
        raise InputError(f"output: {config.output} holds {state}")


def make_trainer(config: RunConfig, resume: bool) -> pl.Trainer:
    """Lightning's loop with our callbacks and logs."""
    config.output.mkdir(parents=True, exist_ok=True)
    callbacks: list[pl.Callback] = [BestCheckpoint()]
    if config.ema > 0:
        callbacks.append(Averaging(decay=config.ema))  # after BestCheckpoint
    if config.early_stop:
        callbacks.append(EarlyStopping("val_score", mode="max", patience=config.early_stop))
    callbacks.append(KeepLast(config.output, config.checkpoint_steps, config.minutes))
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar())
    several: dict[str, Any] = {}
    if world_size() > 1:  # unused: SAM's decoder has heads that a box prompt never reaches
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        several = {
            "strategy": "ddp_find_unused_parameters_true",
            "devices": local,
            "num_nodes": world_size() // local,
            "sync_batchnorm": torch.cuda.is_available(),
        }
    return pl.Trainer(
        accelerator="auto",
        precision=cast(Any, choose_precision(config.precision)),
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
        logger=[CSVLogger(config.output, name="log"), TensorBoardLogger(config.output, name="tensorboard")],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0 if resume else -1,  # the scores before training
        use_distributed_sampler=False,
        log_every_n_steps=10,
        **several,
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


@contextmanager
def quiet_lightning() -> Iterator[None]:
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
