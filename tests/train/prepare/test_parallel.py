from __future__ import annotations

import os

import pytest

from medsam_edge_train.prepare.parallel import in_order


def double(number: int) -> int:
    if number == 13:
        os._exit(1)
    return 2 * number


def test_a_process_that_dies_costs_its_item() -> None:
    assert list(in_order(double, [12, 13, 14], 2, lost=-1)) == [24, -1, 28]


def test_one_worker_needs_no_process() -> None:
    assert list(in_order(lambda number: number + 1, [1, 2], 1, lost=0)) == [2, 3]


def test_no_items_give_no_results() -> None:
    assert list(in_order(double, [], 2, lost=0)) == []


def test_errors_of_the_work_are_raised() -> None:
    with pytest.raises(TypeError):
        list(in_order(double, [None], 1, lost=0))  # type: ignore[list-item]
