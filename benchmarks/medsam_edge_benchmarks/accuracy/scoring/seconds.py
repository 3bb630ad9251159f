"""What an image costs each network, beside what it is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medsam_edge_benchmarks.accuracy.scoring.measure import Row

KINDS = {2: "picture", 3: "volume"}
"""By the dimensions of a row."""


@dataclass(frozen=True)
class Seconds:
    """Of one method over the pictures or the volumes.

    Attributes:
        images: that have an object.
        mean: wall time of an image, in seconds.
        ratio: of the mean to that of the first method.
    """

    images: int
    mean: float
    ratio: float


def seconds_each(rows: Iterable[Row]) -> dict[str, dict[str, Seconds]]:
    """By kind of image and method; methods that have no time are left out, and so is a kind without any.

    Args:
        rows: of one jitter, all objects of each image.
    """
    times: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row.seconds is not None:
            own = times.setdefault(KINDS[row.dimensions], {}).setdefault(row.method, {})
            own[row.key] = own.get(row.key, 0.0) + row.seconds
    return {kind: _compare(methods) for kind, methods in times.items()}


def _compare(methods: Mapping[str, Mapping[str, float]]) -> dict[str, Seconds]:
    means = {name: sum(own.values()) / len(own) for name, own in methods.items()}
    first = next(iter(means.values()))
    return {name: Seconds(len(methods[name]), mean, mean / first) for name, mean in means.items()}
