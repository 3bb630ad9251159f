"""Objects that were followed along all three axes: a voxel is an object's if two of the three masks have it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from medsam_edge.inference.sweeps import Track
from medsam_edge.results.mask import CroppedMask, cropped

NEEDED = 2


def agree(ways: Iterable[Sequence[Track]]) -> None:
    """Change each object's masks, on all slices where it was looked for, to what is agreed on.

    Logits are dropped, because they are not those of the new masks. Scores stay.

    Args:
        ways: of all objects along axis 0, along axis 1 and along axis 2.
    """
    for of_one in zip(*ways, strict=True):
        _agree(of_one)


def _agree(ways: Sequence[Track]) -> None:
    found = [(axis, z, mask) for axis, way in enumerate(ways) for z, mask in way.masks.items() if not mask.empty]
    spans = np.array([_bounds(*own) for own in found], dtype=np.int64).reshape(-1, 3, 2)
    low = spans[:, :, 0].min(axis=0, initial=np.iinfo(np.int64).max)
    high = spans[:, :, 1].max(axis=0, initial=0)
    votes = np.zeros(np.maximum(high - low, 0), dtype=np.uint8)  # of the part of the volume where any mask is
    for axis, z, mask in found:
        top, left = np.delete(low, axis)
        planes = np.moveaxis(votes, axis, 0)
        planes[z - low[axis]][mask.moved(-top, -left).where] += mask.pixels
    agreed = votes >= NEEDED
    for axis, way in enumerate(ways):
        planes, (top, left) = np.moveaxis(agreed, axis, 0), np.delete(low, axis).tolist()
        for z, own in way.logits.items():
            plane = planes[z - low[axis]] if low[axis] <= z < high[axis] else np.zeros((0, 0), dtype=np.bool_)
            way.masks[z] = cropped(plane).moved(top, left)
            way.logits[z] = own.seen_in(own.view, False)


def _bounds(axis: int, z: int, mask: CroppedMask) -> list[tuple[int, int]]:
    """First and last + 1 voxel of a slice's mask along each array axis."""
    bounds = [(part.start, part.stop) for part in mask.where]
    bounds.insert(axis, (z, z + 1))
    return bounds
