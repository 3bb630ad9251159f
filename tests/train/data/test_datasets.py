from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError
from medsam_edge.geometry import Geometry
from medsam_edge.modality import Modality
from medsam_edge_train.data.augment import Augmentation, FloatArray, Labels, Pixels
from medsam_edge_train.data.cases import Case, read_case
from medsam_edge_train.data.datasets import MINIMUM_OBJECT_PIXELS, Sample, TrainingData, ValidationData, collate
from tests.train.data.images import discs, write_case

STILL = Augmentation(plain=1.0, color_p=0.0, noise_p=0.0, jitter_px=0.0)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [
        write_case(tmp_path, "CT/a/x.png", *discs(60, 80, (1, 2, 5))),
        write_case(tmp_path, "US/b/y.png", *discs(200, 150, (3,))),
        write_case(tmp_path, "Fundus/c/z.png", np.repeat(discs(64, 64)[0][..., None], 3, axis=2), discs(64, 64)[1]),
    ]


def training(cases: Sequence[Case], augmentation: Augmentation | None = None, boxes: int = 3) -> TrainingData:
    return TrainingData(cases, 64, boxes, 0, augmentation or Augmentation())


def equal(first: Sample, second: Sample) -> bool:
    tensors = zip(first[:3], second[:3], strict=True)
    return first.modality is second.modality and all(torch.equal(a, b) for a, b in tensors)


def test_a_training_sample_has_boxes_near_its_objects(cases: list[Case]) -> None:
    data = training(cases)
    assert len(data) == 3
    for epoch, index in itertools.product(range(4), range(3)):
        image, boxes, masks, *_ = data[epoch, 10 * index, index]
        assert (image.dtype, boxes.dtype, masks.dtype) == (torch.float32, torch.float32, torch.bool)
        assert image.shape == (3, 64, 64)
        assert 1 <= len(boxes) <= 3
        assert masks.shape == (len(boxes), 64, 64)
        assert (masks.sum((1, 2)) >= MINIMUM_OBJECT_PIXELS).all()
        assert masks.sum(0).max() == 1  # objects do not overlap
        for box, mask in zip(boxes.numpy(), masks.numpy(), strict=True):
            tight = boxes_from_masks(mask.astype(np.int32))[0]
            assert np.abs(box - tight).max() <= 5 * 64 / 256


def test_equal_draws_give_equal_samples_and_other_draws_others(cases: list[Case]) -> None:
    sample = training(cases)[0, 0, 0]
    assert equal(sample, training(cases)[0, 0, 0])
    assert not equal(sample, training(cases)[1, 0, 0])  # another epoch
    assert not equal(sample, training(cases)[0, 1, 0])  # another position
    other_seed = TrainingData(cases, 64, 3, 1, Augmentation())
    assert not equal(sample, other_seed[0, 0, 0])


def test_draws_without_newer_settings_are_those_of_before_these_settings(tmp_path: Path) -> None:
    """Boxes are drawn last: a number drawn more or less before them would move them."""
    case = write_case(tmp_path, "CT/a/x.png", *discs(60, 80, (1, 2)))
    data = TrainingData([case], 128, 2, 0, Augmentation(), crop_size=64)
    drawn = [data[0, position, 0] for position in (0, 1, 7)]
    boxes = [[17, 19, 60, 62]], [[6.01, 18.41, 41.14, 55.4]], [[75, 27, 118, 70], [11, 27, 54, 70]]
    for sample, expected, mean in zip(drawn, boxes, (0.5027, 0.2885, 0.3169), strict=True):
        np.testing.assert_allclose(sample.boxes, expected, atol=0.01)
        assert float(sample.image.mean()) == pytest.approx(mean, abs=0.01)
    off = TrainingData(
        [case], 128, 2, 0, Augmentation(contrast=0.0, zoom=(0.75, 1.6)), crop_size=64, paste=0.0, synthetic=0.0
    )
    assert all(equal(off[0, position, 0], sample) for position, sample in zip((0, 1, 7), drawn, strict=True))


def test_a_draw_does_not_depend_on_what_was_drawn_before(cases: list[Case]) -> None:
    data = training(cases)
    for index in (2, 1, 0, 1):
        data[0, 5, index]
    assert equal(data[3, 2, 0], training(cases)[3, 2, 0])


def test_no_more_boxes_than_asked_for(cases: list[Case]) -> None:
    data = training(cases, STILL, boxes=1)
    seen = set()
    for epoch in range(30):
        _, boxes, masks, *_ = data[epoch, 0, 0]
        assert len(boxes) == len(masks) == 1
        seen.add(int(masks.sum()))
    assert len(training(cases, STILL, boxes=9)[0, 0, 0].boxes) == 3
    assert len({tuple(training(cases, STILL, boxes=1)[epoch, 0, 0].boxes[0].tolist()) for epoch in range(30)}) >= 3
    assert seen


def test_plain_samples_have_tight_boxes(cases: list[Case]) -> None:
    _, boxes, masks, *_ = training(cases, STILL)[0, 0, 1]
    assert np.array_equal(boxes.numpy(), boxes_from_masks(masks[0].numpy().astype(np.int32)))


def test_crops_show_an_object_larger_than_the_whole_image_does(tmp_path: Path) -> None:
    case = write_case(tmp_path, "CT/a/x.png", *discs(400, 300, (7,)))
    crops = TrainingData([case], 128, 3, 0, STILL, crop_size=64)
    shrunk = TrainingData([case], 64, 3, 0, STILL)[0, 0, 0]
    assert [crops[0, step, 0].image.shape[-1] for step in range(16)] == ([64] * 7 + [128]) * 2
    areas = [int(sample.masks.sum()) for sample in (shrunk, crops[0, 0, 0], crops[0, 7, 0])]
    radius = 100 * 64 / 400
    assert areas[0] == pytest.approx(np.pi * radius**2, rel=0.05)
    assert areas[1] == pytest.approx(np.pi * (0.85 * 32) ** 2, rel=0.05)  # at 128 it would not fit
    assert areas[2] == pytest.approx(np.pi * (2 * radius) ** 2, rel=0.05)


def test_large_images_are_kept_smaller(tmp_path: Path) -> None:
    case = write_case(tmp_path, "CT/a/x.png", *discs(400, 300, (7,)))
    data = training([case], STILL)
    _, _, masks, *_ = data[0, 0, 0]
    image, labels = data._load(0)
    assert image.shape == labels.shape == (80, 60)  # 1.25 · 64
    radius = 100 * 64 / 400
    assert int(masks.sum()) == pytest.approx(np.pi * radius**2, rel=0.03)


def test_small_images_are_kept_as_they_are(cases: list[Case]) -> None:
    assert training(cases)._load(0)[0].shape == (60, 80)


def test_a_case_is_read_once(cases: list[Case]) -> None:
    data = training(cases)
    data[0, 0, 0]
    cases[0].image.path.unlink()
    data[1, 0, 0]
    with pytest.raises(ImageError):
        training(cases)[0, 0, 0]


@dataclass(frozen=True)
class Spy(Augmentation):
    """Does nothing, and remembers what it was asked."""

    modalities: list[Modality] = field(default_factory=list)
    means: list[float] = field(default_factory=list)

    def warp(self, image: Pixels, labels: Labels, size: int, rng: np.random.Generator) -> tuple[Pixels, Labels]:
        self.means.append(float(image.mean()))
        if len(self.means) > 1000:
            raise RuntimeError("no end of draws")
        return STILL.warp(image, labels, size, rng)

    def intensity(self, image: Pixels, modality: Modality, rng: np.random.Generator) -> FloatArray:
        self.modalities.append(modality)
        return STILL.intensity(image, modality, rng)


def test_an_image_without_objects_is_replaced_by_another_with_its_own_modality(tmp_path: Path) -> None:
    empty = write_case(tmp_path, "US/a/x.png", np.full((64, 64), 9, dtype=np.uint8), np.zeros((64, 64)))
    full = write_case(tmp_path, "CT/a/y.png", *discs())
    spy = Spy()
    sample = training([empty, full], spy)[0, 0, 0]
    assert len(sample.boxes) == 2
    assert spy.means[0] == 9.0
    assert spy.means[-1] > 20
    assert spy.modalities == [Modality.CT]


def test_data_without_any_object_is_refused(tmp_path: Path) -> None:
    case = write_case(tmp_path, "US/a/x.png", np.full((64, 64), 9, dtype=np.uint8), np.zeros((64, 64)))
    with pytest.raises(ImageError):
        training([case], Spy())[0, 0, 0]


def test_images_are_kept_in_memory_up_to_a_limit(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    image, labels = read_case(cases[0])
    unlimited = training(cases)
    expected = [unlimited[0, 0, index] for index in (0, 1)]
    assert sorted(unlimited._cache) == [0, 1]
    monkeypatch.setattr("medsam_edge_train.data.datasets.CACHE_BYTES", image.nbytes + 2 * labels.size)
    data = training(cases)
    for index in (0, 1, 0, 1):
        assert equal(data[0, 0, index], expected[index])
    assert list(data._cache) == [0]


def test_collate_says_which_image_an_object_is_on() -> None:
    def sample(value: float, objects: int) -> Sample:
        boxes = torch.full((objects, 4), value)
        return Sample(torch.full((3, 8, 8), value), boxes, torch.zeros(objects, 8, 8, dtype=torch.bool), Modality.US)

    batch = collate([sample(0.1, 2), sample(0.2, 0), sample(0.3, 3)])
    assert batch.images.shape == (3, 3, 8, 8)
    assert batch.masks.shape == (5, 8, 8)
    assert batch.image_index.tolist() == [0, 0, 2, 2, 2]
    assert batch.image_index.dtype == torch.int64
    torch.testing.assert_close(batch.boxes[:, 0], batch.images[batch.image_index, 0, 0, 0])


def test_a_share_of_modalities_is_withheld_reproducibly(cases: list[Case]) -> None:
    data = TrainingData(cases, 64, 1, 0, Augmentation(), withhold=0.5)
    given = [data[0, position, 0].modality_given for position in range(40)]
    assert given == [data[0, position, 0].modality_given for position in range(40)]
    assert 8 < sum(given) < 32
    batch = collate([data[0, position, 0] for position in range(40)])
    assert torch.equal(batch.given_classes.any(1), torch.tensor(given))
    assert torch.equal(batch.classes[given], batch.given_classes[given])


@pytest.mark.parametrize("index", [0, 1, 2])
def test_validation_sees_what_the_sdk_sees(cases: list[Case], index: int) -> None:
    sample = ValidationData(cases, 64, 9)[index]
    image, labels = read_case(cases[index])
    geometry = Geometry.of(labels.shape, 64)
    assert np.array_equal(sample.image.numpy(), geometry.image_to_network(image))
    assert np.array_equal(sample.boxes.numpy(), geometry.boxes_to_network(boxes_from_masks(labels)))
    assert sample.modality is cases[index].modality
    for box, mask in zip(sample.boxes.numpy(), sample.masks.numpy(), strict=True):
        assert np.abs(boxes_from_masks(mask.astype(np.int32))[0] - box).max() <= 1.0


def test_validation_takes_the_first_objects(cases: list[Case]) -> None:
    sample = ValidationData(cases, 64, 2)[0]
    everything = ValidationData(cases, 64, 9)[0]
    assert len(sample.boxes) == 2 and len(everything.boxes) == 3
    assert torch.equal(sample.boxes, everything.boxes[:2])
    assert torch.equal(sample.masks, everything.masks[:2])
    assert len(ValidationData(cases, 64, 9)) == 3


def test_validation_of_an_image_without_objects(tmp_path: Path) -> None:
    case = write_case(tmp_path, "CT/a/x.png", np.full((20, 30), 9, dtype=np.uint8), np.zeros((20, 30)))
    sample = ValidationData([case], 64, 3)[0]
    assert (sample.boxes.shape, sample.masks.shape) == ((0, 4), (0, 64, 64))


def test_validation_leaves_out_objects_that_shrink_to_nothing(tmp_path: Path) -> None:
    image, labels = discs(640, 640, (4,))
    labels[3, 2] = 2  # one pixel, between the network's pixels
    sample = ValidationData([write_case(tmp_path, "CT/a/x.png", image, labels)], 64, 3)[0]
    assert len(sample.boxes) == len(sample.masks) == 1
    assert sample.masks[0, 32, 32]
