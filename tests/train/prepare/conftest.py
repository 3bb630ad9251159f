from __future__ import annotations

from pathlib import Path

import pytest

from medsam_edge.phantom import phantom_volume
from tests.train.prepare.folders import picture, square, volume


@pytest.fixture
def figure() -> None:
    """A test that takes this draws report.png."""


@pytest.fixture(autouse=True)
def no_figure(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """report.png takes most of the time of a small run, so only tests that take `figure` draw it."""
    if "figure" not in request.fixturenames:
        monkeypatch.setattr("medsam_edge_train.prepare.prepare.draw_report", lambda report, path: path.write_bytes(b""))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Twelve pictures and three volumes; with shards of four images, several of each."""
    root = tmp_path / "in"
    for index in range(12):
        picture(root, f"US/a/{index}", square((1 + index,), 32))
    for index in range(3):
        mr = phantom_volume("MR", (8, 64, 64), seed=index)
        volume(root / "MR" / f"v{index}_image.nii.gz", mr.image)
        volume(root / "MR" / f"v{index}_label.nii.gz", mr.labels)
    (root / "US/a/images/3.png").write_bytes(b"no picture")
    return root
