from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from medsam_edge.errors import InputError
from medsam_edge_benchmarks.accuracy.figures.charts import _of_pictures, front, write_pareto
from tests.benchmarks.helpers import ROW


def test_the_front_is_what_none_beats() -> None:
    points = {
        "slow": (3.0, 90.0),
        "fast": (1.0, 80.0),
        "beaten": (2.0, 79.0),
        "equal": (4.0, 90.0),
        "twin": (1.0, 70.0),
    }
    assert front(points) == ["fast", "slow"]
    assert front({}) == []


def test_the_plot_is_written(tmp_path: Path) -> None:
    rows = [replace(ROW, key=key, method=name, seconds=1.0) for key in "ab" for name in ("net", "other")]
    rows += [replace(row, method="ellipse", seconds=None) for row in rows]
    write_pareto(tmp_path / "pareto.png", rows)
    assert min(cv2.imread(str(tmp_path / "pareto.png")).shape[:2]) > 300


def test_volumes_have_no_part_in_it() -> None:
    picture, volume = replace(ROW, seconds=1.0), replace(ROW, key="b", dimensions=3, dsc=0.1, seconds=60.0)
    timed, group = _of_pictures([picture, volume, replace(picture, jitter=5.0, dsc=0.2, seconds=None)])
    assert timed["net"].mean == 1.0
    assert group.dsc["net"].mean == pytest.approx(50)


def test_nothing_timed_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--pareto: expected pictures that a network was timed on"):
        write_pareto(tmp_path / "pareto.png", [ROW])
    assert not list(tmp_path.iterdir())
