from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import FileMissingError, ImageError, ModalityError
from medsam_edge.geometry import Geometry
from medsam_edge.modality import Modality
from medsam_edge_train.data.augment import Augmentation, FloatArray, Labels, Pixels
from medsam_edge_train.data.cases import Case, find_cases, read_case, thin
from medsam_edge_train.data.datasets import MINIMUM_OBJECT_PIXELS, Sample, TrainingData, ValidationData, collate
from medsam_edge_train.data.sampling import BalancedSampler, Steps, case_shares
from medsam_edge_train.data.shards import Blob

STILL = Augmentation(plain=1.0, color_p=0.0, noise_p=0.0, jitter_px=0.0)


def discs(height: int = 60, width: int = 80, values: Sequence[int] = (1, 2)) -> tuple[Pixels, Labels]:
    """A grey gradient with one brighter disc for each value, side by side."""
    labels = np.zeros((height, width), dtype=np.uint16)
    step = width // max(1, len(values))
    for index, value in enumerate(values):
        cv2.circle(labels, (step * index + step // 2, height // 2), min(step, height) // 3, value, -1)
    image = np.linspace(20, 120, height * width).reshape(height, width) + 100 * (labels > 0)
    return image.astype(np.uint8), labels.astype(np.int32)


def write(root: Path, name: str, image: npt.NDArray[np.generic], labels: npt.NDArray[np.generic]) -> Case:
    """name: <Modality>/<dataset>/<file name of the image>."""
    modality, dataset, file = name.split("/")
    for part, data in (("images", image), ("masks", labels.astype(np.uint16))):
        path = root / modality / dataset / part / (file if part == "images" else f"{Path(file).stem}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), data)
    found = Modality.parse(modality)
    assert found is not None
    folder = root / modality / dataset
    stem = Path(file).stem
    image_blob, mask_blob = Blob(folder / "images" / file), Blob(folder / "masks" / f"{stem}.png")
    return Case(image_blob, mask_blob, found, dataset, f"{modality}/{dataset}/{stem}")


def named(modality: Modality, index: int) -> Case:
    return Case(Blob(Path(f"{index}.png")), Blob(Path(f"{index}.png")), modality, "a", str(index))


def test_find_cases_reads_the_layout(tmp_path: Path) -> None:
    image, labels = discs()
    expected = [
        write(tmp_path, "CT/liver/b.png", image, labels),
        write(tmp_path, "X-Ray/chest/a.jpg", image, labels),
        write(tmp_path, "mri/brain/10.png", image, labels),
        write(tmp_path, "mri/brain/9.png", image, labels),
    ]
    cv2.imwrite(str(tmp_path / "CT/liver/images/no_mask.png"), image)
    cv2.imwrite(str(tmp_path / "CT/liver/masks/no_image.png"), image)
    (tmp_path / "CT/liver/notes.txt").write_text("not an image")
    (tmp_path / "LICENSE").write_text("not a modality")
    assert find_cases(tmp_path) == expected
    assert [case.modality for case in find_cases(tmp_path)] == [Modality.CT, Modality.XRAY, Modality.MR, Modality.MR]
    assert find_cases(tmp_path)[0].dataset == "liver"


def test_find_cases_takes_stems_literally(tmp_path: Path) -> None:
    image, labels = discs()
    expected = [write(tmp_path, f"CT/a/{stem}.png", image, labels) for stem in ("[1]", "a*", "b?c")]
    write(tmp_path, "CT/a/1.png", image, labels)
    write(tmp_path, "CT/a/ab.png", image, labels)
    assert [case for case in find_cases(tmp_path) if case.image.path.stem in ("[1]", "a*", "b?c")] == sorted(expected)
    assert all(case.image.path.stem == case.mask.path.stem for case in find_cases(tmp_path))


def test_find_cases_does_not_mistake_a_longer_name(tmp_path: Path) -> None:
    image, labels = discs()
    for name in ("case.png", "case.1.png", "case.1.b.png"):
        write(tmp_path, f"CT/a/{name}", image, labels)
    assert [(case.image.path.name, case.mask.path.name) for case in find_cases(tmp_path)] == [
        (name, name) for name in ("case.1.b.png", "case.1.png", "case.png")
    ]


def test_find_cases_wants_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"expected a folder, got .*nowhere"):
        find_cases(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileMissingError, match="expected a folder"):
        find_cases(tmp_path / "file")


def test_find_cases_wants_a_pair(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="found no pair"):
        find_cases(tmp_path)
    case = write(tmp_path, "CT/a/x.png", *discs())
    case.image.path.unlink()
    with pytest.raises(ImageError, match="found no pair"):
        find_cases(tmp_path)


def test_find_cases_wants_modalities(tmp_path: Path) -> None:
    write(tmp_path, "CT/a/x.png", *discs()).image.path.parents[2].rename(tmp_path / "Scans")
    with pytest.raises(ModalityError, match="'Scans'"):
        find_cases(tmp_path)


def test_read_case_grey(tmp_path: Path) -> None:
    image, labels = discs(values=(1, 700))
    read_image, read_labels = read_case(write(tmp_path, "CT/a/x.png", image, labels))
    assert (read_image.dtype, read_labels.dtype) == (np.uint8, np.int32)
    assert np.array_equal(read_image, image)
    assert np.array_equal(read_labels, labels)
    assert read_labels.max() == 700


def test_read_case_color_is_rgb(tmp_path: Path) -> None:
    image = np.zeros((5, 4, 3), dtype=np.uint8)
    image[..., 2] = 200  # OpenCV writes blue, green, red
    image[..., 0] = 10
    read, _ = read_case(write(tmp_path, "Fundus/a/x.png", image, np.ones((5, 4))))
    assert read.shape == (5, 4, 3)
    assert read[0, 0].tolist() == [200, 0, 10]


def test_read_case_refuses_different_sizes(tmp_path: Path) -> None:
    case = write(tmp_path, "CT/a/x.png", np.zeros((5, 4), dtype=np.uint8), np.zeros((4, 5)))
    with pytest.raises(ImageError, match=r"\(5, 4\), its mask \(4, 5\)"):
        read_case(case)


def test_read_case_refuses_a_color_mask(tmp_path: Path) -> None:
    case = write(tmp_path, "CT/a/x.png", np.zeros((5, 4), dtype=np.uint8), np.zeros((5, 4, 3)))
    with pytest.raises(ImageError, match="its mask"):
        read_case(case)


@pytest.mark.parametrize("part", ["image", "mask"])
def test_read_case_refuses_what_it_cannot_read(tmp_path: Path, part: str) -> None:
    case = write(tmp_path, "CT/a/x.png", *discs())
    path: Path = getattr(case, part).path
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match="cannot read") as caught:
        read_case(case)
    assert str(path) in str(caught.value)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [
        write(tmp_path, "CT/a/x.png", *discs(60, 80, (1, 2, 5))),
        write(tmp_path, "US/b/y.png", *discs(200, 150, (3,))),
        write(tmp_path, "Fundus/c/z.png", np.repeat(discs(64, 64)[0][..., None], 3, axis=2), discs(64, 64)[1]),
    ]


def training(cases: Sequence[Case], augmentation: Augmentation | None = None, boxes: int = 3) -> TrainingData:
    return TrainingData(cases, 64, boxes, 0, augmentation or Augmentation())


def equal(first: Sample, second: Sample) -> bool:
    tensors = zip(first[:3], second[:3], strict=True)
    return first.modality is second.modality and all(torch.equal(a, b) for a, b in tensors)


def test_a_training_sample(cases: list[Case]) -> None:
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


def test_draws_repeat_and_differ(cases: list[Case]) -> None:
    sample = training(cases)[0, 0, 0]
    assert equal(sample, training(cases)[0, 0, 0])
    assert not equal(sample, training(cases)[1, 0, 0])  # another epoch
    assert not equal(sample, training(cases)[0, 1, 0])  # another position
    other_seed = TrainingData(cases, 64, 3, 1, Augmentation())
    assert not equal(sample, other_seed[0, 0, 0])


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
    case = write(tmp_path, "CT/a/x.png", *discs(400, 300, (7,)))
    crops = TrainingData([case], 128, 3, 0, STILL, crop_size=64)
    shrunk = TrainingData([case], 64, 3, 0, STILL)[0, 0, 0]
    assert [crops[epoch, 0, 0].image.shape[-1] for epoch in range(8)] == [64, 64, 64, 128] * 2
    areas = [int(sample.masks.sum()) for sample in (shrunk, crops[0, 0, 0], crops[3, 0, 0])]
    radius = 100 * 64 / 400
    assert areas[0] == pytest.approx(np.pi * radius**2, rel=0.05)
    assert areas[1] == pytest.approx(np.pi * (0.85 * 32) ** 2, rel=0.05)  # at 128 it would not fit
    assert areas[2] == pytest.approx(np.pi * (2 * radius) ** 2, rel=0.05)


def test_large_images_are_kept_smaller(tmp_path: Path) -> None:
    case = write(tmp_path, "CT/a/x.png", *discs(400, 300, (7,)))
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
    empty = write(tmp_path, "US/a/x.png", np.full((64, 64), 9, dtype=np.uint8), np.zeros((64, 64)))
    full = write(tmp_path, "CT/a/y.png", *discs())
    spy = Spy()
    sample = training([empty, full], spy)[0, 0, 0]
    assert len(sample.boxes) == 2
    assert spy.means[0] == 9.0
    assert spy.means[-1] > 20
    assert spy.modalities == [Modality.CT]


def test_data_without_any_object_is_refused(tmp_path: Path) -> None:
    case = write(tmp_path, "US/a/x.png", np.full((64, 64), 9, dtype=np.uint8), np.zeros((64, 64)))
    with pytest.raises(ImageError):
        training([case], Spy())[0, 0, 0]


def test_images_of_sixteen_bits_are_refused(tmp_path: Path) -> None:
    """Which the reader of pictures would cut to their upper byte."""
    labels = np.ones((64, 64))
    case = write(tmp_path, "XRay/a/x.png", np.full((64, 64), 4000, dtype=np.uint16), labels)
    with pytest.raises(ImageError, match=r"data: expected 8 bits.*x\.png has uint16"):
        read_case(case)


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


UNEVEN = (
    [named(Modality.CT, i) for i in range(90)]
    + [named(Modality.US, i) for i in range(9)]
    + [named(Modality.CT, 0)._replace(dataset="small")]
)


@pytest.mark.parametrize(
    ("exponent", "shares"),
    [
        (0.0, (1 / 4, 1 / 2, 1 / 4)),
        (1.0, (0.9, 0.09, 0.01)),
        (0.5, (9.5394 / 12.5394 * 9.4868 / 10.4868, 3 / 12.5394, 9.5394 / 12.5394 / 10.4868)),
    ],
)
def test_shares_of_modalities_and_of_the_data_sets_in_each(exponent: float, shares: tuple[float, ...]) -> None:
    """CT has 91 cases, of which one set has one; US has 9."""
    draws = list(BalancedSampler(UNEVEN, 6000, exponent, 0))
    counts = Counter((UNEVEN[index].modality, UNEVEN[index].dataset) for _, _, index in draws)
    for dataset, share in zip(dict.fromkeys((case.modality, case.dataset) for case in UNEVEN), shares, strict=True):
        assert counts[dataset] / 6000 == pytest.approx(share, abs=0.02)
    first = Counter(index for _, _, index in draws if index < 90)
    assert len(first) == 90  # within a data set, every case is drawn
    assert max(first.values()) < 3 * sum(first.values()) / 90


def test_a_folder_for_each_patient_does_not_drown_other_modalities() -> None:
    patients = [named(Modality.MR, index)._replace(dataset=f"p{index // 5}") for index in range(300)]
    cases = [*patients, *(named(Modality.US, index) for index in range(300))]
    assert case_shares(cases, 0.2)[300:].sum() == pytest.approx(0.5)


def test_draws_carry_epoch_and_position() -> None:
    sampler = BalancedSampler(UNEVEN, 50, 0.5, 0)
    assert len(sampler) == len(list(sampler)) == 50
    assert [draw[:2] for draw in sampler] == [(0, position) for position in range(50)]
    sampler.set_epoch(4)
    assert {draw[0] for draw in sampler} == {4}
    assert all(type(value) is int for draw in sampler for value in draw)


def test_an_epoch_repeats_and_epochs_differ() -> None:
    def cases_of(seed: int, epoch: int) -> list[int]:
        sampler = BalancedSampler(UNEVEN, 50, 0.5, seed)
        sampler.set_epoch(epoch)
        first = [index for _, _, index in sampler]
        assert first == [index for _, _, index in sampler]
        return first

    assert cases_of(0, 3) == cases_of(0, 3)
    assert cases_of(0, 3) != cases_of(0, 4)
    assert cases_of(0, 3) != cases_of(1, 3)


def test_length_zero_is_a_pass() -> None:
    sampler = BalancedSampler(UNEVEN, 0, 0.5, 0)
    assert len(sampler) == len(UNEVEN)
    first = [index for _, _, index in sampler]
    sampler.set_epoch(1)
    second = [index for _, _, index in sampler]
    assert sorted(first) == sorted(second) == list(range(len(UNEVEN)))
    assert first != second


def test_steps_split_each_batch_among_the_processes() -> None:
    sampler = BalancedSampler(UNEVEN, 11, 0.5, 0)
    alone = list(Steps(sampler, 4))
    assert [[position for _, position, _ in step] for step in alone] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]  # full batches only
    left, right = (list(Steps(sampler, 4, rank, 2)) for rank in (0, 1))
    assert [a + b for a, b in zip(left, right, strict=True)] == alone
    assert list(Steps(sampler, 4, start=1)) == alone[1:]


def test_the_square_of_each_epoch_and_withheld_modalities(cases: list[Case]) -> None:
    data = TrainingData(cases, 64, 1, 0, Augmentation(), withhold=0.5)
    told = [data[0, position, 0].told for position in range(40)]
    assert told == [data[0, position, 0].told for position in range(40)]
    assert 8 < sum(told) < 32
    batch = collate([data[0, position, 0] for position in range(40)])
    assert torch.equal(batch.told.any(1), torch.tensor(told))
    assert torch.equal(batch.classes[told], batch.told[told])


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
    case = write(tmp_path, "CT/a/x.png", np.full((20, 30), 9, dtype=np.uint8), np.zeros((20, 30)))
    sample = ValidationData([case], 64, 3)[0]
    assert (sample.boxes.shape, sample.masks.shape) == ((0, 4), (0, 64, 64))


def test_validation_leaves_out_objects_that_shrink_to_nothing(tmp_path: Path) -> None:
    image, labels = discs(640, 640, (4,))
    labels[3, 2] = 2  # one pixel, between the network's pixels
    sample = ValidationData([write(tmp_path, "CT/a/x.png", image, labels)], 64, 3)[0]
    assert len(sample.boxes) == len(sample.masks) == 1
    assert sample.masks[0, 32, 32]


@pytest.mark.parametrize(
    ("count", "per_modality", "kept"),
    [
        (10, 3, [0, 4, 9]),
        (5, 5, [0, 1, 2, 3, 4]),
        (3, 9, [0, 1, 2]),
        (7, 1, [0]),
        (9, 2, [0, 8]),
        (1, 1, [0]),
        (4, 0, []),
    ],
)
def test_thin_keeps_evenly_spaced_cases(count: int, per_modality: int, kept: list[int]) -> None:
    cases = [named(Modality.CT, index) for index in range(count)]
    assert thin(cases, per_modality) == [cases[index] for index in kept]


def test_thin_counts_each_modality_on_its_own() -> None:
    kept = Counter(case.modality for case in thin([*UNEVEN, named(Modality.MR, 0)], 5))
    assert kept == {Modality.CT: 5, Modality.US: 5, Modality.MR: 1}


def test_thin_keeps_the_order_given() -> None:
    cases = [named(Modality.US, 0), named(Modality.CT, 1), named(Modality.US, 2), named(Modality.CT, 3)]
    assert thin(cases, 2) == cases
