from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from medsam_edge.geometry import MASK_LIMIT
from medsam_edge.modality import Modality
from medsam_edge_train.data.augment import AUGMENTATIONS
from medsam_edge_train.data.cases import Case, find_cases
from medsam_edge_train.data.corrections import clicks_on_errors, first_clicks
from medsam_edge_train.data.datasets import TrainingData, collate
from medsam_edge_train.data.following import Following, as_prompt, deformed, following_box, neighbours_of
from medsam_edge_train.data.shards import Blob


def disk(x: int, y: int, radius: int, side: int = 128) -> np.ndarray:
    return cv2.circle(np.zeros((side, side), np.uint8), (x, y), radius, 1, -1) > 0


def case(key: str) -> Case:
    return Case(Blob(Path("x.png")), None, Modality.CT, "set", key)


def test_neighbours_are_slices_of_the_same_volume() -> None:
    keys = ["CT/s/a/z0003", "CT/s/a/z0004", "CT/s/a/z0006", "CT/s/b/z0005", "CT/s/picture"]
    near = neighbours_of([case(key) for key in keys])
    assert near == {0: {1: 1}, 1: {-1: 0, 2: 2}, 2: {-2: 1}, 3: {}}


def test_a_deformed_mask_is_the_object_elsewhere() -> None:
    rng, mask = np.random.default_rng(0), disk(60, 64, 20)
    moved = [deformed(mask, rng) for _ in range(50)]
    dice = [2 * (mask & own).sum() / (mask.sum() + own.sum()) for own in moved]
    assert 0.6 < np.min(dice) < np.max(dice) < 1
    assert all(0.4 < own.sum() / mask.sum() < 2.5 for own in moved)


def test_prompts_are_within_the_limit_and_close_to_the_mask() -> None:
    rng, mask = np.random.default_rng(1), disk(60, 64, 20)
    for _ in range(30):
        prompt = as_prompt(mask, rng)
        assert prompt.dtype == np.float32
        assert np.abs(prompt).max() <= MASK_LIMIT
        assert 2 * (mask & (prompt > 0)).sum() / (mask.sum() + (prompt > 0).sum()) > 0.7


def test_boxes_of_following_by_hand() -> None:
    """Around the neighbour's mask grown by 3 to 5 pixels, or around both masks and up to half a side larger."""
    rng = np.random.default_rng(2)
    before, now = np.zeros((2, 128, 128), bool)
    before[40:60, 40:60] = True
    now[40:60, 50:70] = True
    for _ in range(30):
        box = following_box(before, now, 256, rng)
        grown = (np.array([35, 35, 63, 63]) <= box).all() and (box <= np.array([37, 37, 65, 65])).all()
        loose = (np.array([25, 30, 70, 60]) <= box).all() and (box <= np.array([40, 40, 85, 70])).all()
        assert grown or loose


@pytest.fixture
def volume(tmp_path: Path) -> list[Case]:
    """Slices 1 to 3 of a volume: object 1 is on all of them, object 2 ends after the second."""
    folder = tmp_path / "CT" / "set"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    cases = []
    for z in (1, 2, 3):
        labels = np.zeros((128, 128), np.uint8)
        labels[disk(40 + 4 * z, 40, 15)] = 1
        if z < 3:
            labels[disk(90, 90, 12)] = 2
        image, mask = folder / "images" / f"{z}.png", folder / "masks" / f"{z}.png"
        cv2.imwrite(str(image), labels * 100)
        cv2.imwrite(str(mask), labels)
        cases.append(Case(Blob(image), Blob(mask), Modality.CT, "set", f"CT/set/a/z{z:04d}"))
    return cases


def data(cases: list[Case], following: Following, crop: int = 0) -> TrainingData:
    return TrainingData(cases, 128, 4, 0, AUGMENTATIONS["flips"], crop_size=crop, following=following)


@pytest.mark.parametrize("crop", [0, 64])
def test_followed_objects_have_their_masks_on_the_neighbour(volume: list[Case], crop: int) -> None:
    samples = [data(volume, Following(follow=1.0), crop)[epoch, 0, 1] for epoch in range(20)]
    for sample in samples:
        assert sample.priors is not None and sample.has_prior is not None
        assert sample.priors.shape == sample.masks.shape
        assert sample.has_prior.tolist() == [1.0] * len(sample.boxes)
        for prior, mask in zip(sample.priors > 0, sample.masks, strict=True):
            if mask.any() and prior.any():
                assert 2 * (prior & mask).sum() / (prior.sum() + mask.sum()) > 0.4
    batch = collate(samples)
    assert batch.priors is not None and batch.priors.shape == batch.masks.shape


def test_ended_objects_have_a_mask_before_and_none_now(volume: list[Case]) -> None:
    samples = [data(volume, Following(follow=1.0, ended=1.0))[0, position, 2] for position in range(20)]
    assert all(len(sample.masks) == 1 and not sample.masks.any() for sample in samples)
    assert all(sample.priors is not None and (sample.priors > 0).any() for sample in samples)


def test_wrong_masks_are_empty_or_of_another_object(volume: list[Case]) -> None:
    samples = [data(volume, Following(follow=1.0, wrong=1.0))[0, position, 0] for position in range(20)]
    for sample in samples:
        assert sample.priors is not None
        assert not ((sample.priors > 0) & sample.masks).any()


def test_stills_are_followed_too(tmp_path: Path) -> None:
    folder = tmp_path / "US" / "set"
    for name, value in (("images", 200), ("masks", 1)):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "a.png"), disk(64, 64, 20).astype(np.uint8) * value)
    sample = data(find_cases(tmp_path), Following(follow=1.0))[0, 0, 0]
    assert sample.priors is not None and (sample.priors[0] > 0).any()


def test_without_following_nothing_is_drawn_otherwise(volume: list[Case]) -> None:
    plain = data(volume, Following())[0, 3, 1]
    assert plain.priors is None and collate([plain]).priors is None


def test_clicks_go_where_masks_are_wrong() -> None:
    """Too much: a 9 × 9 square whose middle is (54, 24). Missing: a 5 × 5 square around (82, 82)."""
    mask, truth = np.zeros((2, 1, 100, 100), bool)
    mask[0, 20:29, 50:59] = True
    truth[0, 80:85, 80:85] = True
    points, labels = clicks_on_errors(mask, truth, 3)
    assert points.tolist() == [[[54, 24], [82, 82], [82, 82]]]  # the third has no third region: into the object
    assert labels.tolist() == [[0, 1, 1]]


def test_clicks_on_an_object_that_has_ended() -> None:
    points, labels = clicks_on_errors(np.zeros((1, 9, 9), bool), np.zeros((1, 9, 9), bool), 1)
    assert (points.tolist(), labels.tolist()) == ([[[4, 4]]], [[0]])


def test_first_clicks_are_in_the_object_and_where_a_disk_is_wrong() -> None:
    """A bar of 41 × 5 pixels: its middle first; a disk of 205 pixels is wrong above and below, and at both ends."""
    truth = np.zeros((1, 64, 64), bool)
    truth[0, 30:35, 10:51] = True
    points, labels = first_clicks(truth, 3)
    assert labels.tolist()[0][0] == 1 and labels.tolist()[0][-1] == -1
    assert points.shape == (1, 4, 2)
    assert points[0, 0].tolist()[1] == 32
    for (x, y), label in zip(points[0, :3].astype(int).tolist(), labels[0, :3].tolist(), strict=True):
        assert truth[0, y, x] == bool(label)
