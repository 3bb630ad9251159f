"""The processes of a run: one, or those that `torchrun` has started."""

from __future__ import annotations

import os
from typing import Any

from torch import distributed


def world_size() -> int:
    """Number of processes that `torchrun` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def merge(sums: dict[str, list[float]]) -> dict[str, list[float]]:
    """Lists of numbers by name, summed over all processes; every process must call it."""
    if world_size() == 1:
        return sums
    gathered: list[Any] = [None] * world_size()
    distributed.all_gather_object(gathered, sums)
    merged: dict[str, list[float]] = {}
    for of_process in gathered:
        for name, values in of_process.items():
            merged[name] = [a + b for a, b in zip(merged.get(name, [0.0] * len(values)), values, strict=True)]
    return merged
