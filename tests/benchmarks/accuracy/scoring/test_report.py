from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medsam_edge_benchmarks.accuracy.scoring.report import Seconds, calibrate, calibrations, seconds_each
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


def test_a_perfect_prediction_has_no_error() -> None:
    true = np.random.default_rng(0).random(200).tolist()
    perfect = calibrate(true, true)
    assert perfect.error == pytest.approx(0)
    assert perfect.correlation == pytest.approx(1)
    assert sum(own.objects for own in perfect.bins) == 200


def test_calibration_by_hand() -> None:
    found = calibrate([0.95, 0.91, 0.25, 1.2], [0.75, 0.71, 0.45, 1.0])
    assert [own.objects for own in found.bins] == [1, 3]  # what is beyond 1 is in the last bin
    assert found.bins[0].predicted == pytest.approx(0.25)
    assert found.bins[0].true == pytest.approx(0.45)
    assert found.error == pytest.approx(0.2)
    assert calibrate([0.5, 0.5], [0.1, 0.9]).error == pytest.approx(0)
    assert calibrate([0.5, 0.5], [0.1, 0.9]).correlation is None
    rows = [replace(ROW, predicted_iou=0.5), replace(ROW, method="ellipse"), replace(ROW, iou=float("nan"))]
    assert {name: len(own.bins) for name, own in calibrations(rows).items()} == {"net": 1}
