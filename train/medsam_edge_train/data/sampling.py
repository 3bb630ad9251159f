"""Which case is drawn when: balanced over modalities and data sets, and reproducible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from medsam_edge_train.data.cases import Case

Draw = tuple[int, int, int]
"""Epoch, position in the epoch, number of the case. With the seed, they determine all random choices of a sample."""


def case_shares(cases: Sequence[Case], exponent: float) -> npt.NDArray[np.float64]:
    """(N,) probability of each case.

    A modality's share is proportional to its number of cases ** exponent, and so is a data set's share of its modality.
    Exponent 0 draws modalities equally often, and the data sets of each; exponent 1 draws images equally often.
    """
    datasets = [(case.modality, case.dataset) for case in cases]
    counts = Counter(datasets)
    weights = np.array([counts[dataset] ** (exponent - 1) for dataset in datasets])
    modalities = np.array([case.modality.value for case in cases])
    for modality in np.unique(modalities):
        of_modality = modalities == modality
        weights[of_modality] *= of_modality.sum() ** exponent / weights[of_modality].sum()
    return np.asarray(weights / weights.sum(), dtype=np.float64)


@dataclass
class BalancedSampler(Sampler[Draw]):
    """Draws `length` cases per epoch with the probabilities of `case_shares`; they depend on (seed, epoch) alone.

    Length 0 draws every case once, in random order.
    """

    cases: Sequence[Case]
    length: int
    exponent: float
    seed: int
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length or len(self.cases)

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.length:
            drawn = rng.choice(len(self.cases), self.length, p=case_shares(self.cases, self.exponent))
        else:
            drawn = rng.permutation(len(self.cases))
        return ((self.epoch, position, int(index)) for position, index in enumerate(drawn))


@dataclass
class Steps(Sampler[list[Draw]]):
    """Splits the draws of a sampler into full batches, and gives one process its part of each batch.

    Args:
        batch_size: images per step, over all processes.
        rank, world: number of this process, and number of processes.
        start: first step; the loader sets it.
    """

    sampler: BalancedSampler
    batch_size: int
    rank: int = 0
    world: int = 1
    start: int = 0

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[list[Draw]]:
        draws, share = list(self.sampler), self.batch_size // self.world
        for step in range(self.start, len(self)):
            first = step * self.batch_size + self.rank * share
            yield draws[first : first + share]
