"""Which case is drawn when: balanced over modalities and data sets, the same in every repetition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from medsam_edge_train.data.cases import Case

Draw = tuple[int, int, int]
"""Epoch, position in the epoch, number of the case: all that a sample's random choices depend on, with the seed."""


def case_shares(cases: Sequence[Case], exponent: float) -> npt.NDArray[np.float64]:
    """(N,) probability of each case: a modality's is ∝ (its number of cases) ** exponent, and in it so is a data set's.

    Exponent 0 shows modalities equally often and so the data sets of each, 1 every image equally often.
    """
    datasets = [(case.modality, case.dataset) for case in cases]
    counts = Counter(datasets)
    weights = np.array([counts[dataset] ** (exponent - 1) for dataset in datasets])
    modalities = np.array([case.modality.value for case in cases])
    for modality in np.unique(modalities):
        own = modalities == modality
        weights[own] *= own.sum() ** exponent / weights[own].sum()
    return np.asarray(weights / weights.sum(), dtype=np.float64)


@dataclass
class BalancedSampler(Sampler[Draw]):
    """Draws `length` cases an epoch with the probabilities of `case_shares`.

    Length 0 is a pass: every image once, in random order. The draws depend on (seed, epoch) alone.
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
    """Full batches of a sampler's draws, and of each batch the part of one process.

    Args:
        batch_size: images of one step over all processes.
        start: step to begin at; the loader sets it.
    """

    sampler: BalancedSampler
    batch_size: int
    rank: int = 0
    world: int = 1
    start: int = 0

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size

    def __iter__(self) -> Iterator[list[Draw]]:
        draws, own = list(self.sampler), self.batch_size // self.world
        for step in range(self.start, len(self)):
            first = step * self.batch_size + self.rank * own
            yield draws[first : first + own]
