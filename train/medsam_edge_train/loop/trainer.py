"""The loop of every training stage. A run can be killed and resumed.

A run has one process, or several on one or more machines under `torchrun`: these split the batch and average the
gradients, so the result is that of one process. On CPUs it differs a little, because each process takes batch
statistics of its own images. Every draw follows from (seed, epoch, position), so a resumed run repeats and skips
nothing.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from medsam_edge.errors import InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.loop import callbacks
from medsam_edge_train.loop.config import RunConfig, choose_precision
from medsam_edge_train.loop.loader import ResumableLoader
from medsam_edge_train.loop.module import StageModule
from medsam_edge_train.loop.processes import rank, world_size


def run(module: StageModule, training: ResumableLoader, validation: DataLoader[Any], resume: bool) -> Path | None:
    """Train a module; returns `output/best.safetensors`, or None if the time is up before training ends.

    Raises:
        InputError: training diverged, so there is no best checkpoint; or memory is too small.
    """
    config = module.config
    last, best = config.output / "last.ckpt", config.output / "best.safetensors"
    with quiet_lightning(), suppress(callbacks.TimeIsUp), own_errors(config):
        trainer = make_trainer(config, resume)
        with saving_on_interrupt(trainer):
            trainer.fit(module, training, validation, ckpt_path=last if resume else None, weights_only=True)
        is_start = rank() == 0 and best.is_file() and checkpoint.read(best).metadata.get("step") == "0"
        diverged = is_start and not math.isfinite(float(trainer.callback_metrics.get("val_score", 0.0)))
        if rank() == 0 and (diverged or not best.is_file()):
            raise InputError(f"learning_rate: training diverged, expected less than {config.learning_rate}")
        if is_start:
            print("no epoch was better than the start, which is kept as the best", file=sys.stderr, flush=True)
        return best
    return None


def check_output(config: RunConfig, resume: bool) -> None:
    """Raise InputError unless the output folder holds a run exactly if one is to be resumed."""
    if resume != (config.output / "last.ckpt").exists():
        state = "no run to resume" if resume else "a run that --resume would continue"
        raise InputError(f"output: {config.output} holds {state}")


def make_trainer(config: RunConfig, resume: bool) -> pl.Trainer:
    """Lightning's loop with our callbacks and logs."""
    config.output.mkdir(parents=True, exist_ok=True)
    return pl.Trainer(
        accelerator="auto",
        precision=cast(Any, choose_precision(config.precision)),
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip,
        callbacks=list(_callbacks(config)),
        logger=[CSVLogger(config.output, name="log"), TensorBoardLogger(config.output, name="tensorboard")],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0 if resume else -1,  # the scores before training
        use_distributed_sampler=False,
        log_every_n_steps=10,
        **_processes(),
    )


def _callbacks(config: RunConfig) -> Iterator[pl.Callback]:
    """In the order in which they must run."""
    yield callbacks.BestCheckpoint()
    if config.ema > 0:
        yield callbacks.Averaging(decay=config.ema)
    if config.early_stop:
        yield callbacks.EarlyStop("val_score", mode="max", patience=config.early_stop)
    keep_last = callbacks.KeepLast(config.output, config.checkpoint_steps)
    yield keep_last
    yield callbacks.DrawCurves(config.output)
    yield callbacks.Interrupt(keep_last)
    if config.minutes:
        yield callbacks.TimeLimit(keep_last, config.minutes)
    if sys.stderr.isatty():
        yield RichProgressBar(console_kwargs={"stderr": True})  # results alone go to stdout


def _processes() -> dict[str, Any]:
    """Lightning's settings for the processes that `torchrun` has started."""
    if world_size() == 1:
        return {"devices": 1}  # by default, Lightning would start a process for each GPU
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return {
        "strategy": "ddp_find_unused_parameters_true",  # a box prompt never reaches some heads of SAM's decoder
        "devices": local,
        "num_nodes": world_size() // local,
        "sync_batchnorm": torch.cuda.is_available(),
    }


@contextmanager
def saving_on_interrupt(trainer: pl.Trainer) -> Iterator[None]:
    """Let Ctrl-C end the run after a step, see `callbacks.Interrupt`; signals reach the main thread alone."""
    asked = [own.ask for own in trainer.callbacks if isinstance(own, callbacks.Interrupt)]  # type: ignore[attr-defined]
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, asked[0])
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def own_errors(config: RunConfig) -> Iterator[None]:
    """Turn out-of-memory into InputError, and Lightning's SystemExit back into KeyboardInterrupt."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise InputError(f"batch_size: {config.batch_size} images a step need more memory than there is") from error
        if "DataLoader worker (pid" in str(error):  # a killed worker; an error raised in a worker reads otherwise
            raise InputError(
                f"workers: one of {config.workers} was killed, perhaps for lack of memory, or could not start; "
                "call under `if __name__ == '__main__'`"
            ) from error
        raise
    except SystemExit as leaving:
        raise KeyboardInterrupt from leaving


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice and its own deprecation warnings: the user cannot act on them."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            yield
    finally:
        logger.setLevel(level)
