from __future__ import annotations

from dataclasses import replace

from medsam_edge_benchmarks.accuracy.scoring.seconds import Seconds, seconds_each
from tests.benchmarks.helpers import ROW


def test_the_mean_is_over_images_and_the_ratio_to_the_first_method() -> None:
    many = [replace(ROW, key="a", label=label, seconds=0.25) for label in range(4)]  # 1 s in all
    rows = [*many, replace(ROW, key="b", seconds=3.0), replace(ROW, key="c", dimensions=3, seconds=8.0)]
    rows += [replace(row, method="slow", seconds=3 * (row.seconds or 0)) for row in rows]
    rows += [replace(row, method="ellipse", seconds=None) for row in rows]
    assert seconds_each(rows) == {
        "picture": {"net": Seconds(2, 2.0, 1.0), "slow": Seconds(2, 6.0, 3.0)},
        "volume": {"net": Seconds(1, 8.0, 1.0), "slow": Seconds(1, 24.0, 3.0)},
    }


def test_without_times_there_is_nothing() -> None:
    assert seconds_each([ROW]) == {}
