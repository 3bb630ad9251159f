"""Clicks that a person would make to correct masks."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.prompts import PADDING

BoolArray = npt.NDArray[np.bool_]


def clicks_on_errors(
    masks: BoolArray, truths: BoolArray, count: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """`count` clicks on each object: in the middle of its largest wrong regions, the largest first.

    Where fewer regions are wrong, the rest go deepest into the object, or into the background where there is none.

    Args:
        masks, truths: (N, H, W).

    Returns:
        points (N, count, 2) x, y of pixels; labels (N, count), 1 on the object, 0 on the background.
    """
    points, labels = np.zeros((len(masks), count, 2), np.float32), np.zeros((len(masks), count), np.int64)
    for index, (mask, truth) in enumerate(zip(masks, truths, strict=True)):
        found = [region for wrong in (mask & ~truth, truth & ~mask) for region in _largest_regions(wrong, count)]
        regions = [region for _, region in sorted(found, key=lambda entry: -entry[0])[:count]]
        regions += [truth if truth.any() else ~truth] * (count - len(regions))
        for number, region in enumerate(regions):
            x, y = _deepest(region)
            points[index, number], labels[index, number] = (x, y), truth[y, x]
    return points, labels


def first_clicks(truths: BoolArray, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Clicks that a person would make without a box: into the object, then where a disk around it is wrong.

    Args:
        truths: (N, H, W).

    Returns:
        points (N, count + 1, 2), labels (N, count + 1); the last is SAM's padding, which stands for the box.
    """
    middles, labels = clicks_on_errors(np.zeros_like(truths), truths, 1)
    rows, columns = np.indices(truths.shape[1:])
    x, y = (middles[:, 0, axis, None, None] for axis in (0, 1))
    radius = np.sqrt(np.count_nonzero(truths, axis=(1, 2)) / np.pi)[:, None, None]  # the disk is as large as the object
    further = clicks_on_errors((columns - x) ** 2 + (rows - y) ** 2 <= radius**2, truths, count)
    points = np.concatenate([middles, further[0][:, : count - 1], np.zeros_like(middles)], axis=1)
    return points, np.concatenate([labels, further[1][:, : count - 1], np.full_like(labels, PADDING)], axis=1)


def _largest_regions(mask: BoolArray, count: int) -> list[tuple[int, BoolArray]]:
    """Pixels and mask of the largest connected regions."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    return [(int(areas[index]), numbers == index + 1) for index in np.argsort(-areas, kind="stable")[:count].tolist()]


def _deepest(region: BoolArray) -> tuple[int, int]:
    """x, y of the pixel that is farthest from the region's edge; the image's border is an edge."""
    distance = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(x), int(y)
