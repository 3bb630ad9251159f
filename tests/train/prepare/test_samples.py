from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom, phantom_volume
from medsam_edge_train.data.cases import read_case
from medsam_edge_train.prepare.samples import choose_slices, drop_small_objects, shrink
from tests.train.prepare.folders import picture, report_of, run, square, volume


def test_images_as_jpeg_keep_their_masks(tmp_path: Path) -> None:
    truth = phantom("Fundus", (64, 96))
    picture(tmp_path / "in", "train/Fundus/a/x", truth.labels, truth.image[..., ::-1])
    picture(tmp_path / "in", "train/US/b/grey", square((1, 700)))
    cases = run(tmp_path / "in", tmp_path / "out", jpeg=95)
    raw = cases["train/Fundus/a/x"].image.read()
    assert raw.startswith(b"\xff\xd8\xff")
    assert len(colour_at(tmp_path, 30)) < len(raw)
    image, labels = read_case(cases["train/Fundus/a/x"])
    assert np.abs(image.astype(int) - truth.image).mean() < 4  # red is red, and blue is blue
    assert np.array_equal(labels, truth.labels)
    grey, labels = read_case(cases["train/US/b/grey"])
    assert np.abs(grey.astype(int) - (90 + 50 * (square((1, 700)) > 0))).max() <= 4
    assert np.array_equal(labels, square((1, 700)))


def colour_at(tmp_path: Path, jpeg: int) -> bytes:
    """The colour image's bytes at another quality."""
    return run(tmp_path / "in", tmp_path / f"out{jpeg}", jpeg=jpeg)["train/Fundus/a/x"].image.read()


def test_sixteen_bits_follow_their_modality(tmp_path: Path) -> None:
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 10
    picture(tmp_path / "in", "XRay/a/x", None, image)
    read, _ = read_case(run(tmp_path / "in", tmp_path / "out", validation=0)["train/XRay/a/x"])
    assert np.array_equal(read, to_display(image, Modality.XRAY))


def test_grey_stored_as_color_becomes_grey(tmp_path: Path) -> None:
    picture(tmp_path / "in", "US/a/x", None, np.repeat(square()[..., None].astype(np.uint8), 3, axis=2))
    assert read_case(run(tmp_path / "in", tmp_path / "out", validation=0)["train/US/a/x"])[0].ndim == 2


def test_percentiles_are_those_of_the_whole_volume(tmp_path: Path) -> None:
    mr = phantom_volume("MR", (8, 64, 64))
    mr.image[0] *= 3  # an unlabelled slice, brighter than the others
    mr.labels[0] = 0
    volume(tmp_path / "in" / "MR" / "a_image.nii.gz", mr.image)
    volume(tmp_path / "in" / "MR" / "a_label.nii.gz", mr.labels.astype(np.float32))
    image, _ = read_case(run(tmp_path / "in", tmp_path / "out", validation=0)["train/MR/MR/a/z0004"])
    assert np.array_equal(image, to_display(mr.image.reshape(-1, 64), Modality.MR).reshape(8, 64, 64)[4])
    assert not np.array_equal(image, to_display(mr.image[4], Modality.MR))


def test_small_objects_are_measured_at_network_size(tmp_path: Path) -> None:
    """8 × 8 pixels of 256 are 4 at 64; 16 × 16 are 16."""
    labels = np.zeros((256, 128), np.uint16)
    labels[0:8, 0:8] = 1
    picture(tmp_path / "in", "US/a/small", labels)
    labels[100:116, 100:116] = 2
    picture(tmp_path / "in", "US/a/x", labels)
    cases = run(tmp_path / "in", tmp_path / "out", image_size=64, minimum_pixels=10, validation=0)
    assert list(cases) == ["train/US/a/x"]
    image, labels = read_case(cases["train/US/a/x"])
    assert (image.shape, np.unique(labels).tolist()) == ((64, 32), [0, 2])
    counts = report_of(tmp_path / "out")["modalities"]["US"]
    assert counts == {"found": 2, "sampled": 2, "train": 1, "val": 0, "objects": 1, "skipped": 0}


def test_a_fraction_is_the_share_of_images_taken(tmp_path: Path) -> None:
    for index in range(200):
        picture(tmp_path / "in", f"US/a/{index}", square(side=16))
    half = set(run(tmp_path / "in", tmp_path / "half", fractions="US=0.5,CT=0.1", validation=0))
    assert 80 <= len(half) <= 120  # 100 ± 7
    assert half < set(run(tmp_path / "in", tmp_path / "most", fractions="US=0.8", validation=0))
    other = set(run(tmp_path / "in", tmp_path / "other", fractions="US=0.5", validation=0, seed=1))
    assert len(half & other) < 0.8 * len(half)
    counts = report_of(tmp_path / "half")["modalities"]["US"]
    assert (counts["found"], counts["sampled"]) == (200, len(half))


@pytest.mark.parametrize(
    ("labelled", "interval", "chosen"),
    [
        (range(10, 21), 5, [10, 15, 20]),
        (range(10, 20), 5, [12, 17]),
        (range(10, 13), 5, [11]),
        (range(4), 1, [0, 1, 2, 3]),
        ([7], 5, [7]),
        ([0, 1, 8, 9], 3, [0, 9]),
        ([], 5, []),
    ],
)
def test_every_nth_labelled_slice_is_chosen(labelled: list[int], interval: int, chosen: list[int]) -> None:
    labels = np.zeros((24, 2, 2), np.uint16)
    labels[list(labelled), 1, 1] = 3
    assert choose_slices(labels, interval).tolist() == chosen


def test_small_parts_of_objects_are_dropped() -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[0:5, 0:5] = 9
    labels[5, 5] = 9  # touches at a corner
    labels[0:5, 5:7] = 4  # touches 9, but is another object
    labels[15:17, 15:17] = 9
    expected = labels.copy()
    expected[15:17, 15:17] = 0
    assert np.array_equal(drop_small_objects(labels, 5), expected)
    assert np.array_equal(drop_small_objects(labels[None], 5), expected[None])
    expected[0:5, 5:7] = 0
    assert np.array_equal(drop_small_objects(labels, 11), expected)
    assert drop_small_objects(labels, 4) is labels
    assert drop_small_objects(np.zeros_like(labels), 4).max() == 0


def test_a_volume_is_one_object_across_slices() -> None:
    labels = np.zeros((9, 8, 8), np.uint16)
    labels[:, 1, 1] = 1
    labels[0, 6:8, 6:8] = 1
    kept = drop_small_objects(labels, 9)
    assert kept[:, 1, 1].all()
    assert kept.sum() == 9


def test_smaller_images_are_not_enlarged() -> None:
    image, labels = np.zeros((30, 64), np.uint8), np.zeros((30, 64), np.uint16)
    assert shrink(image, labels, 64) == (image, labels)
    assert [array.shape for array in shrink(image, labels, 32)] == [(15, 32), (15, 32)]
    assert shrink(np.zeros((400, 1, 3), np.uint8), np.zeros((400, 1), np.uint16), 4)[0].shape == (4, 1, 3)


def test_slices_beyond_the_labelled_ones() -> None:
    labels = np.zeros((8, 4, 4), dtype=np.uint16)
    labels[1:5] = 1
    assert choose_slices(labels, 1, beyond=2).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert choose_slices(labels, 2, beyond=1).tolist() == [0, 1, 3, 5]
    assert choose_slices(np.zeros_like(labels), 1, beyond=2).tolist() == []
