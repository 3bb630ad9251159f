"""What happens beside the steps of a run: averaged weights, checkpoints, curves, and the end of the run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, EMAWeightAveraging

from medsam_edge_train import checkpoint
from medsam_edge_train.loop.curves import draw_curves
from medsam_edge_train.loop.module import StageModule


class Averaging(EMAWeightAveraging):
    """Keeps the averaged weights in place until `on_validation_end`, where `BestCheckpoint` writes them."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do nothing: Lightning would put the trained weights back here."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)


class BestCheckpoint(pl.Callback):
    """Writes the validated (averaged) weights as `best.safetensors` whenever the validation score rises.

    With `init`, what training starts from comes first: the best is never worse.
    """

    best = float("-inf")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module, start = cast(StageModule, pl_module), trainer.sanity_checking
        if not trainer.is_global_zero or (start and module.config.init is None):
            return
        scores = module.before if start else trainer.callback_metrics
        score, headline = (float(scores[name]) for name in ("val_score", module.headline))
        if not start:
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


class EarlyStop(EarlyStopping):
    """Early stopping that a resumed run remembers; Lightning's own forgets that the run had stopped."""

    stopped = False

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.stopped = state_dict["stopped"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = self.stopped

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.stopped = trainer.should_stop


# The callbacks below are of Lightning's type `Checkpoint` because those are called last, in the order given.


class KeepLast(Checkpoint):
    """Writes `last.ckpt` at the end of each epoch, and every `steps` steps; 0 for epoch ends only."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # The last step of an epoch is saved after its validation: a run resumed before it would leave that out.
        if self.steps and trainer.global_step % self.steps == 0 and not trainer.is_last_batch:
            self.save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Replace the file, whole or not at all."""
        partial = self.folder / "last.ckpt.partial"
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            partial.replace(self.folder / "last.ckpt")


class DrawCurves(Checkpoint):
    """Writes the logs and draws `curves.png` at the end of each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            draw_curves(self.folder)


class TimeIsUp(Exception):  # noqa: N818
    """Ends a run from inside. Lightning's own `should_stop` would validate first, and count the epoch as done."""


class Interrupt(Checkpoint):
    """Ctrl-C saves the run at the end of the step and then ends it; a second one ends it at once."""

    def __init__(self, keep_last: KeepLast) -> None:
        self.keep_last, self.asked = keep_last, False

    def ask(self, *_: Any) -> None:
        """What a signal calls."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("interrupted: the run is saved after this step; once more ends it now", file=sys.stderr, flush=True)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.strategy.broadcast(self.asked) and not trainer.is_last_batch:
            self.keep_last.save(trainer)
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.strategy.broadcast(self.asked):  # `KeepLast` has saved it
            raise KeyboardInterrupt


class TimeLimit(Checkpoint):
    """Saves the run and raises `TimeIsUp` at the first step after `minutes`, unless the run ends there anyway."""

    def __init__(self, keep_last: KeepLast, minutes: float) -> None:
        self.keep_last, self.end = keep_last, time.monotonic() + 60 * minutes

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._is_over(trainer) and not trainer.is_last_batch:
            self.keep_last.save(trainer)
            raise TimeIsUp

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        finished = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if self._is_over(trainer) and not finished:
            raise TimeIsUp

    def _is_over(self, trainer: pl.Trainer) -> bool:
        """By the clock of the first process, so that all processes end at the same step."""
        return bool(trainer.strategy.broadcast(time.monotonic() >= self.end))
