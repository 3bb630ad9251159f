from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from medsam_edge.cli.main import main


def test_demo_writes_a_picture_and_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    names = {file.name for file in (tmp_path / "demo").iterdir()}
    assert "overlay.png" in names
    assert len(names) == 12
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["modality", "objects", "DSC"]
    scores = [float(line.split()[2]) for line in lines[1:12]]
    assert all(0.5 < score <= 1 for score in scores)
    overlay = cv2.imread(str(tmp_path / "demo" / "overlay.png"))
    assert overlay is not None
    assert overlay.std() > 10
