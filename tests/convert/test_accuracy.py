from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from medsam_edge import Modality, Segmenter
from medsam_edge_convert import accuracy
from medsam_edge_convert.accuracy import ObjectScore, as_markdown, by_modality, inscribed_ellipse
from medsam_edge_train.data.cases import Case, find_cases
from medsam_edge_train.data.shards import Blob
from tests.sdk.fake import fake_model


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One CT image with a square object, and one US image with two."""
    for modality, boxes in (("CT", [(8, 8, 24, 24)]), ("US", [(0, 0, 10, 20), (32, 32, 64, 64)])):
        labels = np.zeros((64, 64), np.uint8)
        for value, (x0, y0, x1, y1) in enumerate(boxes, start=1):
            labels[y0:y1, x0:x1] = value
        for folder, image in (("images", labels * 50 + 20), ("masks", labels)):
            (tmp_path / modality / "squares" / folder).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / modality / "squares" / folder / "a.png"), image)
    return tmp_path


def test_boxes_that_are_the_truth_score_one(data: Path) -> None:
    """The fake model answers with the box itself; an ellipse covers π/4 of its box: DSC 2·π/4 / (1 + π/4)."""
    scores = accuracy.score_cases({"fake": Segmenter(fake_model())}, find_cases(data), surfaces=True)
    assert [score.case.modality for score in scores] == [Modality.CT, Modality.US, Modality.US]
    assert [score.dsc["fake"] for score in scores] == [1.0, 1.0, 1.0]
    assert [score.nsd["fake"] for score in scores] == [1.0, 1.0, 1.0]
    assert 0 < scores[2].nsd["ellipse"] < 1  # its corners are farther than two pixels away
    assert accuracy.by_modality(scores, "nsd")["CT"]["fake"] == 100
    quarter = np.pi / 4
    assert scores[2].dsc["ellipse"] == pytest.approx(2 * quarter / (1 + quarter), abs=0.01)


def test_ellipse_touches_the_box() -> None:
    mask = inscribed_ellipse(np.array([10, 20, 50, 40], np.float32), (60, 80))
    assert mask.sum() == pytest.approx(np.pi * 20 * 10, rel=0.02)
    assert np.flatnonzero(mask.any(0))[[0, -1]].tolist() == [10, 49]
    assert np.flatnonzero(mask.any(1))[[0, -1]].tolist() == [20, 39]


def test_ellipsoid_touches_the_box() -> None:
    mask = inscribed_ellipse(np.array([10, 20, 2, 50, 40, 22], np.float32), (30, 60, 80))
    assert mask.sum() == pytest.approx(4 / 3 * np.pi * 20 * 10 * 10, rel=0.02)
    for axis, ends in ((0, [2, 21]), (1, [20, 39]), (2, [10, 49])):
        others = tuple({0, 1, 2} - {axis})
        assert np.flatnonzero(mask.any(others))[[0, -1]].tolist() == ends


def test_mean_is_over_modalities() -> None:
    def score(modality: Modality, dsc: float) -> ObjectScore:
        return ObjectScore(Case(Blob(Path()), Blob(Path()), modality, "set", "a"), 1, {"a": dsc, "ellipse": 0.5})

    table = by_modality([score(Modality.CT, 1.0), score(Modality.CT, 0.8), score(Modality.US, 0.5)])
    assert table["CT"] == pytest.approx({"objects": 2, "a": 90.0, "ellipse": 50.0})
    assert table["mean"] == pytest.approx({"objects": 3, "a": 70.0, "ellipse": 50.0})
    assert as_markdown(table).splitlines()[2] == "| CT | 2 | 90.0 | 50.0 |"
    assert by_modality([]) == {}
