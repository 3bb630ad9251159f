from __future__ import annotations

import numpy as np
import pytest

from medsam_edge_benchmarks.accuracy.scoring.challenge import challenge_nsd
from medsam_edge_train.metrics import nsd


def disc(column: int) -> np.ndarray:
    rows, columns = np.mgrid[:140, :180]
    return np.asarray((rows - 70) ** 2 + (columns - column) ** 2 < 60**2)


def test_a_picture_is_a_volume_of_one_slice() -> None:
    """Random masks, some of which touch the border, against the library on what the script hands it."""
    rng = np.random.default_rng(0)
    for density in (0.02, 0.3, 0.9):
        for _ in range(5):
            mask, truth = rng.random((2, 12, 17)) < density
            mask[0, 0] = truth[-1, -1] = True
            expected = nsd(mask[..., None], truth[..., None], (1.0, 1.0, 1.0))
            assert challenge_nsd(mask, truth, (3.0, 5.0)) == pytest.approx(expected)


def test_all_of_an_area_is_surface() -> None:
    """Two discs 10 pixels apart: their outlines are hardly anywhere within 2 pixels, their areas nearly everywhere."""
    mask, truth = disc(70), disc(80)
    assert nsd(mask, truth) == pytest.approx(0.16, abs=0.01)
    assert challenge_nsd(mask, truth, (1.0, 1.0)) == pytest.approx(0.93, abs=0.01)


def test_nothing() -> None:
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert np.isnan(challenge_nsd(empty, empty, (1.0, 1.0)))
    assert challenge_nsd(empty, full, (1.0, 1.0)) == challenge_nsd(full, empty, (1.0, 1.0)) == 0.0
    assert challenge_nsd(full, full, (1.0, 1.0)) == 1.0


def test_spacing_is_in_the_order_of_the_file() -> None:
    """One slice too many and 5 mm away: the script takes the 5 mm for the width of a pixel and finds it near."""
    truth, mask = (np.zeros((10, 20, 20), bool) for _ in range(2))
    truth[2:6, 4:16, 4:16] = mask[2:7, 4:16, 4:16] = True
    assert nsd(mask, truth, (5.0, 1.0, 1.0)) < 0.9
    assert challenge_nsd(mask, truth, (5.0, 1.0, 1.0)) == nsd(mask, truth, (1.0, 1.0, 5.0)) == 1.0
