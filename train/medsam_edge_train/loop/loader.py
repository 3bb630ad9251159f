"""Batches of training data, starting at any step of an epoch."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing import resource_tracker
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from medsam_edge.errors import InputError, MedsamEdgeError
from medsam_edge_train.data.cases import Case, find_cases, thin
from medsam_edge_train.data.sampling import BalancedSampler, Steps
from medsam_edge_train.loop.config import RunConfig
from medsam_edge_train.loop.processes import rank, world_size


class ResumableLoader(DataLoader[Any]):
    """A loader that can start an epoch at any step; its batches come from `Steps`."""

    position = 0  # next step of the epoch; set it before the first batch is requested

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # a generator, which starts at the first batch: Lightning makes iterators before it sets the epoch
        start = self.position % len(self)
        cast(Steps, self.batch_sampler).start = start
        try:
            with _interrupts_held() if self.num_workers else nullcontext():
                batches = super().__iter__()  # starts the workers, if they are not there
            for self.position, batch in enumerate(batches, start + 1):
                yield batch
        except MedsamEdgeError as error:  # an error of a worker has its traceback before the message
            raise type(error)(str(error).rpartition(f"{type(error).__name__}: ")[2].strip()) from error


def validation_cases(config: RunConfig) -> list[Case]:
    """This process's share of the validation images.

    Raises:
        InputError: there are fewer images than processes; a process without one would keep the others waiting.
    """
    cases = thin(find_cases(config.validation or config.data / "val"), config.val_per_modality)
    if len(cases) < world_size():
        raise InputError(f"data: expected a validation image for each of {world_size()} processes, got {len(cases)}")
    return cases[rank() :: world_size()]


def step_loader(config: RunConfig, dataset: Any, cases: Sequence[Case], collate_samples: Any) -> ResumableLoader:
    """This process's share of the training batches, of a data set that is indexed by the draws of `BalancedSampler`.

    Raises:
        InputError: an epoch has fewer images than a batch.
    """
    draws = BalancedSampler(cases, config.images_per_epoch, config.balance, config.seed, by=config.balance_by)
    steps = Steps(draws, config.batch_size, rank(), world_size())
    if not len(steps):
        raise InputError(f"batch_size: expected at most the {len(draws)} images of an epoch, got {config.batch_size}")
    return ResumableLoader(
        dataset,
        batch_sampler=steps,
        collate_fn=collate_samples,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        # a forked process would have the locks that other threads hold now (loggers, OpenCV), and nobody to free them
        multiprocessing_context="spawn" if config.workers else None,
        worker_init_fn=_leave_interrupts,
        generator=torch.Generator(),  # making an iterator must not advance the global generator
    )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits, in processes that start here too: they would die of it before they can `_leave_interrupts`."""
    if sys.platform == "win32":  # it has no signal masks
        yield
        return
    resource_tracker.ensure_running()  # as it starts, it lets interrupts through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one ends the workers when the run is saved."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
