from __future__ import annotations

import numpy as np
import pytest

from medsam_edge.errors import InputError
from medsam_edge_benchmarks.accuracy.figures.sheets import COUNT, STRIP, TILE, Worst
from tests.benchmarks.helpers import NEEDLE, item


def test_the_worst_come_first() -> None:
    worst, truth = Worst(), np.zeros((3, 40, 60), bool)
    truth[1, 10:20, 10:30] = True
    image = np.full(truth.shape, 100, np.uint8)
    for index in np.random.default_rng(0).permutation(30).tolist():
        worst.offer(index / 30, item(NEEDLE), index, image, np.zeros_like(truth), truth)
    worst.offer(float("nan"), item(NEEDLE), 99, image, truth, truth)
    assert sorted(-entry[0] for entry in worst._kept) == [index / 30 for index in range(COUNT)]
    sheet = worst.sheet()
    assert sheet.shape == (4 * (TILE + STRIP), 5 * TILE, 3)
    assert (sheet[:TILE, :TILE] == 255).all(axis=2).any()  # the truth's outline
    picture = np.zeros((50, 50, 3), np.uint8)
    few = Worst()
    few.offer(0.5, item(NEEDLE), 1, picture, np.eye(50, dtype=bool), np.eye(50, dtype=bool))
    assert few.sheet().shape == (TILE + STRIP, 5 * TILE, 3)
    with pytest.raises(InputError, match="worst"):
        Worst().sheet()
