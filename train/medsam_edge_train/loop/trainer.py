"""The loop of every training stage, which can be killed and resumed.

One process, or several on one or more machines under `torchrun`: the batch is split, the gradients are averaged, and
the result is that of one process; on CPUs nearly, where each has the batch statistics of its own images. Every draw
follows from (seed, epoch, position), so a resumed run repeats nothing and skips nothing.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, RichProgressBar
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from medsam_edge.errors import InputError
from medsam_edge_train.loop.callbacks import Averaging, BestCheckpoint, KeepLast, TimeIsUp
from medsam_edge_train.loop.config import RunConfig, choose_precision
from medsam_edge_train.loop.loader import ResumableLoader
from medsam_edge_train.loop.module import StageModule
from medsam_edge_train.loop.processes import rank, world_size


def run(module: StageModule, training: ResumableLoader, validation: DataLoader[Any], resume: bool) -> Path | None:
    """Train, and return the best checkpoint, `output/best.safetensors`; None when the time was up before the end.

    Raises:
        InputError: training diverged, so that there is none.
    """
    config = module.config
    last, best = config.output / "last.ckpt", config.output / "best.safetensors"
    with quiet_lightning(), suppress(TimeIsUp), own_errors(config):
        trainer = make_trainer(config, resume)
        trainer.fit(module, training, validation, ckpt_path=last if resume else None, weights_only=True)
        if rank() == 0 and not best.is_file():
            raise InputError(
                f"learning_rate: no epoch's validation score was a number, expected less than {config.learning_rate}"
            )
        return best
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
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))  # results alone go to stdout
    processes: dict[str, Any] = {"devices": 1}  # by itself, Lightning would start a process for each GPU
    if world_size() > 1:  # unused: SAM's decoder has heads that a box prompt never reaches
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        processes = {
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
        **processes,
    )


@contextmanager
def own_errors(config: RunConfig) -> Iterator[None]:
    """Memory that does not suffice as an error of ours; an interrupt, which Lightning makes an exit, as what it was."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise InputError(f"batch_size: {config.batch_size} images a step take more memory than there is") from error
        if "DataLoader worker (pid" in str(error):  # and not what was raised in one
            raise InputError(f"workers: one of {config.workers} was killed, perhaps for want of memory") from error
        raise
    except SystemExit as leaving:
        raise KeyboardInterrupt from leaving


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
