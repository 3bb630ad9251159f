from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from medsam_edge_train.loop.curves import draw_curves, read_curves


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_curves_of_a_run_in_two_parts(tmp_path: Path) -> None:
    write(tmp_path / "before.json", '{"val_dsc": 0.1}')
    write(tmp_path / "log/version_0/metrics.csv", "epoch,step,train_loss,val_dsc\n0,3,2.5,0.5\n1,7,2.0,0.6\n")
    write(tmp_path / "log/version_2/metrics.csv", "epoch,step,train_loss,val_dsc\n1,7,1.9,\n1,7,,0.7\n")
    write(tmp_path / "log/version_10/metrics.csv", "epoch,step,train_loss,val_dsc\n2,11,1.0,0.8\n")
    assert read_curves(tmp_path) == {
        "val_dsc": {0: 0.1, 1: 0.5, 2: 0.7, 3: 0.8},
        "train_loss": {1: 2.5, 2: 1.9, 3: 1.0},
    }
    picture = cv2.imread(str(draw_curves(tmp_path)))
    assert picture is not None
    assert picture.shape[1] > picture.shape[0] > 200
    assert not list(tmp_path.glob("*.partial"))


def test_a_run_without_logs_has_no_curves_and_an_empty_figure(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == {}
    assert draw_curves(tmp_path).is_file()


def test_drawing_warns_of_nothing_on_a_busy_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=60)
    monkeypatch.setattr("matplotlib.legend.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    write(tmp_path / "log/version_0/metrics.csv", "epoch,step,train_loss,val_dsc\n0,3,2.5,0.5\n1,7,2.0,0.6\n")
    assert draw_curves(tmp_path).is_file()
