from __future__ import annotations

import numpy as np
import pytest

from medsam_edge.server.masks import from_runs, run_lengths


@pytest.mark.parametrize(
    ("pixels", "counts"),
    [
        ([[0, 0, 0, 1, 1]], [3, 2]),
        ([[1]], [0, 1]),
        ([[0]], [1]),
        ([[1, 0], [0, 1]], [0, 1, 2, 1]),
        ([[]], []),
    ],
)
def test_runs(pixels: list[list[int]], counts: list[int]) -> None:
    mask = np.array(pixels, dtype=bool)
    assert run_lengths(mask) == counts
    np.testing.assert_array_equal(from_runs(counts, *mask.shape), mask)


def test_runs_of_any_mask_there_and_back() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        mask = rng.random((rng.integers(1, 9), rng.integers(1, 9))) < rng.random()
        np.testing.assert_array_equal(from_runs(run_lengths(mask), *mask.shape), mask)


@pytest.mark.parametrize("counts", [[3], [5], [-1, 5], [2, -1, 3]])
def test_runs_that_do_not_fill_the_rectangle(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="fill 2 x 2"):
        from_runs(counts, 2, 2)
