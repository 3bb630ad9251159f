from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from medsam_edge_train.data import pasting
from medsam_edge_train.data.augment import Augmentation
from medsam_edge_train.data.cases import Case, find_unlabelled
from medsam_edge_train.data.datasets import TrainingData
from medsam_edge_train.data.following import Following
from medsam_edge_train.data.pasting import blob, paste
from tests.train.data.images import discs, write_case

STILL = Augmentation(plain=1.0, color_p=0.0, noise_p=0.0, jitter_px=0.0)
NOTHING = np.zeros((64, 64), np.int32)
STRIPES = np.tile(np.array([0, 0, 255, 255], np.uint8), (80, 25))  # (80, 100), each column of one value


@pytest.fixture
def hard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edges of no width."""
    monkeypatch.setattr(pasting, "SOFT_PX", (0.01, 0.01))


@pytest.mark.usefixtures("hard")
@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3)])
def test_the_mask_is_what_changed(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 100, np.uint8)
    for seed in range(30):
        pasted, labels = paste(image, NOTHING, np.full((50, 50), 9, np.uint8), np.random.default_rng(seed))
        assert (pasted.dtype, pasted.shape, labels.dtype, labels.shape) == (np.uint8, shape, np.int32, (64, 64))
        changed = pasted != image if image.ndim == 2 else (pasted != image).any(axis=2)
        assert np.array_equal(changed, labels == 1)  # a flat object differs from a flat ground everywhere


def test_a_soft_edge_is_a_few_pixels_wide_and_the_mask_ends_in_its_middle() -> None:
    image = np.full((128, 128), 100, np.uint8)
    for seed in range(20):
        pasted, labels = paste(image, np.zeros((128, 128), np.int32), image, np.random.default_rng(seed))
        mask = (labels == 1).astype(np.uint8)
        height = abs(pasted.astype(float) - 100)
        assert not height[cv2.dilate(mask, np.ones((15, 15))) == 0].any()
        if mask.sum() > 200:
            assert ((height > 0.5 * height.max()) == mask).mean() > 0.98


@pytest.mark.usefixtures("hard")
@pytest.mark.parametrize("channels", [1, 3])
def test_the_texture_is_the_other_pictures(channels: int) -> None:
    """Stripes of one value a column, on a ground of another grey; their mean and contrast are changed, not they."""
    image = np.full((64, 64), 100, np.uint8) if channels == 1 else np.full((64, 64, 3), 100, np.uint8)
    deviations = []
    for seed in range(30):
        pasted, labels = paste(image, NOTHING, STRIPES, np.random.default_rng(seed))
        plane = (pasted if channels == 1 else pasted[..., 0]).astype(float)
        columns = [plane[:, x][labels[:, x] == 1] for x in range(64)]
        assert max(np.ptp(column) for column in columns if len(column)) <= 3  # resizing rounds
        deviations.append(plane[labels == 1].std())
    assert max(deviations) > 10


def test_a_coloured_texture_is_grey_in_a_grey_picture() -> None:
    texture = np.zeros((50, 50, 3), np.uint8)
    texture[::2, :, 0] = 255
    pasted, _ = paste(np.full((64, 64), 100, np.uint8), NOTHING, texture, np.random.default_rng(0))
    assert pasted.shape == (64, 64)


@pytest.mark.usefixtures("hard")
def test_the_object_differs_sometimes_much_and_sometimes_little() -> None:
    image = np.full((64, 64), 100, np.uint8)
    image[0, 0], image[0, 1] = 0, 200  # the range
    differences = []
    for seed in range(60):
        pasted, labels = paste(image, NOTHING, np.full((9, 9), 7, np.uint8), np.random.default_rng(seed))
        assert pasted.max() <= 200
        differences.append(abs(float(np.median(pasted[labels == 1])) - 100))
    assert 0.08 * 200 - 1 <= min(differences) < 25
    assert 80 < max(differences) <= 100


def test_other_objects_stay_where_they_are_not_covered() -> None:
    image, labels = discs(64, 64, (3, 8))
    for seed in range(20):
        _, after = paste(image, labels, image, np.random.default_rng(seed))
        new = after == 9
        assert new.sum() >= 10
        assert np.array_equal(after[~new], labels[~new])


def test_objects_lie_on_the_picture_and_not_on_its_padding() -> None:
    image = np.zeros((128, 128), np.uint8)
    image[:32] = 100
    for seed in range(20):
        _, labels = paste(image, np.zeros((128, 128), np.int32), STRIPES, np.random.default_rng(seed))
        assert (labels[:40] == 1).any()


def sizes(count: int) -> npt.NDArray[np.float64]:
    """(count, 3) of pasted objects in a square of 128: height and width of the box, area."""
    rows = []
    for seed in range(count):
        image = np.full((128, 128), 100, np.uint8)
        _, labels = paste(image, np.zeros((128, 128), np.int32), image, np.random.default_rng(seed))
        _, _, width, height = cv2.boundingRect(labels.astype(np.uint8))
        rows.append((height, width, int(labels.sum())))
    return np.array(rows, float)


def test_sizes_and_shapes_are_those_of_objects() -> None:
    height, width, area = sizes(300).T
    size = np.sqrt(height * width)
    assert 5 <= size.min() < 9 and 50 < size.max() <= 0.45 * 128 + 2
    assert np.median(size) == pytest.approx(128 * (0.04 * 0.45) ** 0.5, rel=0.25)
    assert np.maximum(height, width).max() <= 0.85 * 128
    assert (area >= 10).all()
    assert 0.6 < np.median(area / (height * width)) < 0.8  # an ellipse fills 0.785 of its box
    assert np.maximum(height / width, width / height).max() > 2


def test_a_shape_is_one_piece_without_holes_and_fills_its_box() -> None:
    for seed in range(50):
        mask = blob(40.0, 100.0, np.random.default_rng(seed))
        assert mask.any(axis=0).mean() > 0.9 and mask.any(axis=1).mean() > 0.9
        assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2
        assert cv2.connectedComponents(np.pad(~mask, 1, constant_values=True).astype(np.uint8))[0] == 2


def test_a_shape_that_would_be_too_long_is_smaller() -> None:
    assert max(max(blob(60.0, 30.0, np.random.default_rng(seed)).shape) for seed in range(20)) <= 31


def test_the_same_generator_pastes_the_same() -> None:
    image, labels = discs(64, 64)
    first, again, other = (paste(image, labels, STRIPES, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """A flat picture whose object is its right half, and a brighter, flat one."""
    half = np.zeros((64, 64), np.int32)
    half[:, 32:] = 1
    return [write_case(tmp_path, f"CT/a/{n}.png", np.full((64, 64), 60 * n, np.uint8), half) for n in (1, 2)]


def test_the_share_of_pasted_objects(cases: list[Case]) -> None:
    """A flat picture is black after the min-max: only a pasted object makes it bright."""
    for share in (0.0, 0.5, 1.0):
        data = TrainingData(cases, 64, 3, 0, STILL, paste=share)
        pasted = np.mean([bool(data[0, position, 0].image.any()) for position in range(40)])
        assert pasted == pytest.approx(share, abs=0.2 if share == 0.5 else 0)


@pytest.mark.parametrize("shown", [1, 3])
@pytest.mark.parametrize("crop_size", [0, 64])
def test_a_pasted_object_is_asked_for(cases: list[Case], crop_size: int, shown: int) -> None:
    data = TrainingData(cases, 128, shown, 0, STILL, paste=1.0, crop_size=crop_size, synthetic=1.0)
    for position in range(20):
        sample = data[0, position, 0]
        image, mask = sample.image[0].numpy(), sample.masks[0].numpy()
        ground = np.median(image[~mask])
        assert mask.sum() >= 10
        assert 1 <= len(sample.boxes) <= min(2, shown)
        assert abs(np.median(image[mask]) - ground) > 0.05


def test_the_texture_is_that_of_another_case(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(image: pasting.Pixels, labels: pasting.Labels, texture: pasting.Pixels, rng: np.random.Generator) -> object:
        seen.append((int(image.max()), int(texture.max())))
        return paste(image, labels, texture, rng)

    monkeypatch.setattr("medsam_edge_train.data.datasets.paste", spy)
    for position in range(6):
        TrainingData(cases, 64, 3, 0, STILL, paste=1.0)[0, position, position % 2]
    assert set(seen) == {(60, 120), (120, 60)}
    TrainingData(cases[:1], 64, 3, 0, STILL, paste=1.0)[0, 0, 0]
    assert seen[-1] == (60, 60)  # there is no other


@pytest.mark.parametrize("crop_size", [0, 64])
def test_pictures_without_masks_have_pasted_objects_alone(tmp_path: Path, crop_size: int) -> None:
    for number, image in enumerate((discs()[0], STRIPES)):
        (tmp_path / "CT/a").mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / f"CT/a/{number}.png"), image)
    data = TrainingData(find_unlabelled(tmp_path), 128, 3, 0, STILL, paste=1.0, crop_size=crop_size)
    for position in range(8):
        first, again = (data[0, position, position % 2] for _ in range(2))
        assert len(first.boxes) == 1
        assert all(bool((a == b).all()) for a, b in zip(first[:3], again[:3], strict=True))


def test_pasted_objects_can_be_followed(cases: list[Case]) -> None:
    sample = TrainingData(cases, 64, 1, 0, STILL, paste=1.0, following=Following(1.0))[0, 0, 0]
    assert sample.priors is not None and sample.priors.shape == (1, 64, 64)
