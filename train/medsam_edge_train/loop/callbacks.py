"""What happens beside the steps of a run: averaged weights, checkpoints, curves, and its end when the time is up."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EMAWeightAveraging

from medsam_edge_train import checkpoint
from medsam_edge_train.loop.curves import draw_curves
from medsam_edge_train.loop.module import StageModule


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
    is replaced whole or not at all. It also says whether the run had stopped early, which Lightning forgets."""

    def __init__(self, folder: Path, steps: int, minutes: float) -> None:
        self.folder, self.steps = folder, steps
        self.end = time.monotonic() + 60 * minutes if minutes else None
        self.stopped = False

    def state_dict(self) -> dict[str, Any]:
        return {"stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stopped = state_dict["stopped"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = self.stopped

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        ends = self._time_is_up(trainer)
        due = self.steps and trainer.global_step % self.steps == 0
        # an epoch's last step is saved after its validation, which Lightning leaves out of a run resumed before it
        if (ends or due) and not trainer.is_last_batch:
            self._save(trainer)
            if ends:
                raise TimeIsUp

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.stopped = trainer.should_stop
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
