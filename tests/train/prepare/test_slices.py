from __future__ import annotations

import numpy as np
import pytest

from medsam_edge_train.prepare.slices import choose_slices, drop_small_objects, shrink


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
