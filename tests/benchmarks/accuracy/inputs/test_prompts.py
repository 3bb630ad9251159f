from __future__ import annotations

import numpy as np

from medsam_edge_benchmarks.accuracy.inputs.prompts import Prompts, jittered

LABELS = np.zeros((64, 128), np.uint8)
LABELS[8:24, 8:24] = 3
LABELS[40:42, 100:128] = 7


def test_tight_boxes_in_the_order_of_the_labels() -> None:
    prompts = Prompts(LABELS, (1.0, 1.0), "a")
    assert prompts.values.tolist() == [3, 7]
    assert prompts.boxes.tolist() == [[8, 8, 24, 24], [100, 40, 128, 42]]
    assert np.allclose(prompts.sides, [32, 2 * np.sqrt(2 * 28)])  # 256 / 128 network pixels a pixel
    assert prompts.boxes.dtype == np.float32


def test_jittered_boxes_stay_inside_and_keep_an_area() -> None:
    rng = np.random.default_rng(0)
    for axes, shape in ((2, (40, 60)), (3, (9, 40, 60))):
        ends = np.array(shape[::-1])
        low = rng.integers(0, ends - 1, (500, axes))
        high = rng.integers(low + 1, ends + 1)
        boxes = np.concatenate([low, high], axis=1).astype(np.float32)
        for jitter in (1.0, 10.0, 300.0):
            moved = jittered(boxes, shape, (3.0, 1.0, 1.0)[-axes:], jitter, "key")
            assert (moved[:, :axes] >= 0).all()
            assert (moved[:, axes:] <= ends).all()
            assert (moved[:, axes:] - moved[:, :axes] >= 1 - 1e-4).all()
            assert moved.dtype == np.float32
            reach = jitter * 60 / 256
            assert (abs(moved - boxes)[:, :2] <= reach + 1e-4).all()
            assert not np.array_equal(moved, boxes)
            if axes == 3:
                assert np.array_equal(moved[:, [2, 5]], np.rint(moved[:, [2, 5]]))
                assert abs(moved - boxes)[:, 2].max() <= reach / 3 + 0.5  # as many mm, in slices three times as thick


def test_the_same_key_draws_the_same_moves() -> None:
    boxes = np.array([[100, 100, 150, 150]], np.float32)
    five, ten, again = (jittered(boxes, (256, 256), (1, 1), jitter, "a") for jitter in (5, 10, 5))
    assert np.array_equal(five, again)
    assert np.allclose(ten - boxes, 2 * (five - boxes), atol=1e-4)
    assert not np.array_equal(five, jittered(boxes, (256, 256), (1, 1), 5, "b"))
    assert np.array_equal(jittered(boxes, (256, 256), (1, 1), 0, "a"), boxes)


def test_boxes_of_a_slice_are_of_what_it_shows() -> None:
    prompts = Prompts(np.stack([LABELS * 0, np.where(LABELS == 7, LABELS, 0), LABELS]), (2.0, 1.0, 1.0), "a")
    assert prompts.boxes.tolist() == [[8, 8, 2, 24, 24, 3], [100, 40, 1, 128, 42, 3]]
    found = [prompts.on_slice(z) for z in range(3)]
    assert [objects.tolist() for objects, _ in found] == [[], [1], [0, 1]]
    assert found[0][1].shape == (0, 4)
    assert found[2][1].tolist() == [[8, 8, 24, 24], [100, 40, 128, 42]]
    assert np.allclose(prompts.sides, Prompts(LABELS, (1.0, 1.0), "a").sides)
