from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import cv2
import numpy as np
import pytest

from medsam_edge import Segmenter
from medsam_edge.geometry import FloatArray
from medsam_edge.inference import propagation
from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge_benchmarks.accuracy.inputs.items import Item, Loaded
from medsam_edge_benchmarks.accuracy.inputs.prompts import Prompts
from medsam_edge_benchmarks.accuracy.output.files import COLUMNS, write_csv
from medsam_edge_benchmarks.accuracy.scoring import methods
from medsam_edge_benchmarks.accuracy.scoring.measure import (
    Row,
    Telling,
    bounds,
    challenge_nsd,
    measure_item,
    scores,
    tell,
)
from medsam_edge_benchmarks.accuracy.scoring.methods import Ellipse, Found, GrabCut, Network, PerSlice, grabcut
from medsam_edge_train.metrics import nsd
from tests.benchmarks.helpers import NEEDLE, item
from tests.sdk.fake import fake_model

pytestmark = pytest.mark.usefixtures("no_narrowing")


@pytest.fixture(autouse=True)
def no_narrowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box bounds all its slices alike, so that the masks of the fake can be worked out by hand."""
    monkeypatch.setattr(propagation, "NARROWING", 0.0)


def rows_of(items: list[Item], jitters: tuple[float, ...] = (0.0,)) -> list[Row]:
    segmenter = Segmenter(fake_model())
    methods = {"a": Network(segmenter), "a, per slice": PerSlice(segmenter), "ellipse": Ellipse()}
    return [row for own in items for row in measure_item(own, methods, jitters, "told", None)]


def test_scores_of_crops_are_scores_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    for shape in ((50, 70), (9, 30, 40)):
        for _ in range(20):
            mask, truth = (np.zeros(shape, bool) for _ in range(2))
            for own in (mask, truth):
                low = rng.integers(0, np.array(shape) // 2)
                own[tuple(slice(a, a + n) for a, n in zip(low, rng.integers(1, 16, len(shape)), strict=True))] = True
            mask &= rng.random(shape) < 0.9
            spacing = tuple(rng.uniform(0.5, 3, len(shape)).tolist())
            dsc, surface, challenge, iou = scores(mask, truth, spacing)
            assert dsc == dice(mask, truth)
            assert surface == nsd(mask, truth, spacing)
            assert challenge == pytest.approx(challenge_nsd(mask, truth, spacing))
            union = (mask | truth).sum()
            assert iou == pytest.approx((mask & truth).sum() / union)


def test_scores_of_nothing() -> None:
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert np.isnan(scores(empty, empty, (1, 1))).all()
    assert scores(empty, full, (1, 1)) == scores(full, empty, (1, 1)) == (0.0, 0.0, 0.0, 0.0)
    assert bounds(empty, empty) == (slice(0, 0), slice(0, 0))
    full[0] = False
    assert bounds(empty, full) == (slice(1, 4), slice(0, 5))


def test_the_distance_between_surfaces_is_in_mm() -> None:
    """One slice too many: 1 mm away it is within the tolerance of 2 mm, 5 mm away its face is not."""
    truth, mask = (np.zeros((10, 20, 20), bool) for _ in range(2))
    truth[2:6, 4:16, 4:16] = mask[2:7, 4:16, 4:16] = True
    assert scores(mask, truth, (1, 1, 1))[:2] == (8 / 9, 1.0)
    assert scores(mask, truth, (5, 1, 1))[1] < 0.9


def test_propagation_keeps_its_box_and_slices_have_their_own() -> None:
    """The fake answers with its prompt: one box of 16 × 16 on both slices, where the object has 8 × 8 on the first."""
    rows = {row.method: row for row in rows_of([item(NEEDLE)])}
    assert rows["a"].dsc == 2 * 320 / (320 + 512)
    assert rows["a"].iou == pytest.approx(320 / 512)
    assert (rows["a, per slice"].dsc, rows["a, per slice"].nsd) == (1.0, 1.0)
    assert rows["a"].predicted_iou == pytest.approx(0.5 + 32 / 1000)  # as the fake scores a box at (16, 16)
    assert rows["a, per slice"].predicted_iou == pytest.approx(0.5 + 32 / 1000)
    assert rows["ellipse"].predicted_iou is None
    assert rows["ellipse"].dsc < 1
    same = (rows["a"].label, rows["a"].dimensions, rows["a"].side, rows["a"].pixels)
    assert same == (5, 3, 64.0, 320)  # 16 voxels are 64 of 256 network pixels


def test_objects_share_the_seconds_of_their_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second whenever it is read. Only the first jitter has a time: it fills the cache."""
    monkeypatch.setattr(methods, "time", SimpleNamespace(perf_counter=itertools.count().__next__))
    labels = NEEDLE[1].copy()
    labels[40:50, 40:50] = 6
    rows = rows_of([item(labels), item(NEEDLE, "MR/set/volume")], (0.0, 4.0))
    seconds = {(row.key[7:], row.method, row.jitter): row.seconds for row in rows}
    assert {about: each for about, each in seconds.items() if each} == {("a", "a", 0): 0.5, ("volume", "a", 0): 1.0}
    assert set(seconds) >= {("volume", "a, per slice", 0), ("a", "ellipse", 0), ("a", "a", 4)}


def test_pictures_have_no_slices() -> None:
    rows = rows_of([item(NEEDLE[1]), item(NEEDLE[2], "MR/set/empty")])
    assert [(row.method, row.key) for row in rows] == [("a", "MR/set/a"), ("ellipse", "MR/set/a")]
    assert (rows[0].dsc, rows[0].nsd, rows[0].iou, rows[0].dimensions) == (1.0, 1.0, 1.0, 2)


def test_all_methods_get_the_same_boxes() -> None:
    seen: dict[float, list[FloatArray]] = {}

    class Watch:
        volumes_only = False

        def segment(self, image: np.ndarray, prompts: Prompts, told: Modality | None) -> Found:
            seen.setdefault(prompts.jitter, []).append(prompts.boxes)
            return Ellipse().segment(image, prompts, told)

    rows = measure_item(item(NEEDLE), {"a": Watch(), "b": Watch()}, (0, 8), "told", None)
    assert [(row.method, row.jitter) for row in rows] == [("a", 0), ("b", 0), ("a", 8), ("b", 8)]
    for boxes in seen.values():
        assert np.array_equal(*boxes)
    assert not np.array_equal(seen[0][0], seen[8][0])
    assert rows[0].dsc == rows[1].dsc != rows[2].dsc == rows[3].dsc


def test_grabcut_finds_what_looks_unlike_its_surroundings() -> None:
    truth = np.zeros((700, 600), np.uint8)  # larger than what it looks at
    cv2.circle(truth, (300, 300), 150, 1, -1)
    noise = np.random.default_rng(0).integers(0, 20, truth.shape)
    image = (40 + 150 * truth + noise).astype(np.uint8)
    prompts = Prompts(truth, (1.0, 1.0), "a")
    found = GrabCut().segment(image, prompts, None)
    assert dice(found.mask(0), truth) > 0.98
    assert np.array_equal(grabcut(image, prompts.boxes[0]), found.mask(0))
    whole = np.array([0, 0, 600, 700], np.float32)
    assert grabcut(image, whole).all()  # nothing lies around it
    small = image[140:460:8, 140:460:8]
    volume = np.stack([small] * 3)
    labels = np.stack([truth[140:460:8, 140:460:8]] * 3)
    labels[2] = 0
    in_volume = GrabCut().segment(volume, Prompts(labels, (1.0, 1.0, 1.0), "a"), None).mask(0)
    assert dice(in_volume, labels) > 0.9
    assert not in_volume[2].any()


def test_the_sheet_has_every_row(tmp_path: Path) -> None:
    rows = rows_of([item(NEEDLE)])
    write_csv(tmp_path / "a.csv", rows)
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + len(rows)
    assert lines[1].startswith("MR/set/a,MR,set,5,3,64.0,320,a,0.0,0.769")


def test_the_modality_may_be_told_withheld_or_wrong() -> None:
    """The fake takes off as many pixels on each side as the class has as its number: none for CT, one for MR (what CT
    is told when wrong); dark pictures are CT to it."""
    dark = Item("a", Modality.CT, "set", lambda: Loaded(NEEDLE[1] * 20, NEEDLE[1], (1.0, 1.0)))
    methods = {"a": Network(Segmenter(fake_model(classes=tuple(Modality)))), "ellipse": Ellipse()}
    found = {telling: measure_item(dark, methods, [0.0], telling, None)[0] for telling in get_args(Telling)}
    assert {telling: row.dsc for telling, row in found.items()} == pytest.approx(
        {"told": 1.0, "withheld": 1.0, "wrong": 2 * 14**2 / (16**2 + 14**2)}
    )
    assert {telling: row.recognized for telling, row in found.items()} == {
        "told": None,
        "withheld": "CT",
        "wrong": None,
    }


def test_a_wrong_modality_is_of_the_same_kind() -> None:
    for modality in Modality:
        wrong = tell("wrong", modality)
        assert wrong is not None
        assert wrong is not modality
        assert wrong.is_color is modality.is_color
    assert tell("wrong", Modality.MAMMOGRAPHY) is Modality.CT  # the last grey one, the first
    assert tell("wrong", Modality.DERMOSCOPY) is Modality.ENDOSCOPY


def disc(column: int) -> np.ndarray:
    rows, columns = np.mgrid[:140, :180]
    return np.asarray((rows - 70) ** 2 + (columns - column) ** 2 < 60**2)


def test_a_picture_is_a_volume_of_one_slice() -> None:
    """Random masks, some of which touch the border, against the library on what the script hands it."""
    rng = np.random.default_rng(0)
    for density in (0.02, 0.3, 0.9):
        for _ in range(5):
            mask, truth = rng.random((2, 12, 17)) < density
            mask[0, 0] = truth[-1, -1] = True
            expected = nsd(mask[..., None], truth[..., None], (1.0, 1.0, 1.0))
            assert challenge_nsd(mask, truth, (3.0, 5.0)) == pytest.approx(expected)


def test_all_of_an_area_is_surface() -> None:
    """Two discs 10 pixels apart: their outlines are hardly anywhere within 2 pixels, their areas nearly everywhere."""
    mask, truth = disc(70), disc(80)
    assert nsd(mask, truth) == pytest.approx(0.16, abs=0.01)
    assert challenge_nsd(mask, truth, (1.0, 1.0)) == pytest.approx(0.93, abs=0.01)


def test_the_challenge_of_nothing() -> None:
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert np.isnan(challenge_nsd(empty, empty, (1.0, 1.0)))
    assert challenge_nsd(empty, full, (1.0, 1.0)) == challenge_nsd(full, empty, (1.0, 1.0)) == 0.0
    assert challenge_nsd(full, full, (1.0, 1.0)) == 1.0


def test_spacing_is_in_the_order_of_the_file() -> None:
    """One slice too many and 5 mm away: the script takes the 5 mm for the width of a pixel and finds it near."""
    truth, mask = (np.zeros((10, 20, 20), bool) for _ in range(2))
    truth[2:6, 4:16, 4:16] = mask[2:7, 4:16, 4:16] = True
    assert nsd(mask, truth, (5.0, 1.0, 1.0)) < 0.9
    assert challenge_nsd(mask, truth, (5.0, 1.0, 1.0)) == nsd(mask, truth, (1.0, 1.0, 5.0)) == 1.0
