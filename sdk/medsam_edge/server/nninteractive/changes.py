"""Which part of a mask is new to a viewer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import VolumeSegmentation
from medsam_edge.server.masks import extent_of, paint_part, slices_of


@dataclass(frozen=True)
class Change:
    """Half-open bounds along the array axes, and the values there."""

    bounds: list[list[int]]
    values: npt.NDArray[np.bool_]


def change_between(before: VolumeSegmentation | None, after: VolumeSegmentation | None) -> Change | None:
    """The smallest block that holds all voxels that differ; None where none does. None is an empty mask."""
    held = [own for own in (_bounds(before), _bounds(after)) if own is not None]
    if not held:
        return None
    low = np.min([own[:, 0] for own in held], axis=0)
    high = np.max([own[:, 1] for own in held], axis=0)
    old, new = np.zeros((2, *(high - low)), dtype=bool)
    for part, result in ((old, before), (new, after)):
        if result is not None:
            paint_part(part, low.tolist(), result, 0)
    changed = extent_of(old != new)
    if changed is None:
        return None
    values = new[tuple(slice(start, stop) for start, stop in changed.tolist())]
    return Change((changed + low[:, None]).tolist(), np.ascontiguousarray(values))


def union(one: CroppedMask, other: CroppedMask) -> CroppedMask:
    """What is in either of two masks, neither of them empty."""
    top, left = min(one.top, other.top), min(one.left, other.left)
    bottom, right = (max(one.where[at].stop, other.where[at].stop) for at in (0, 1))
    pixels = np.zeros((bottom - top, right - left), dtype=bool)
    for own in (one, other):
        pixels[own.moved(-top, -left).where] |= own.pixels
    return CroppedMask(top, left, pixels)


def _bounds(result: VolumeSegmentation | None) -> npt.NDArray[np.int64] | None:
    """(3, 2) low and high along the array axes; None of an empty object."""
    slices = [] if result is None else list(slices_of(result, 0))
    if result is None or not slices:
        return None
    spans = np.array(
        [
            [z, z + 1, mask.top, mask.top + mask.pixels.shape[0], mask.left, mask.left + mask.pixels.shape[1]]
            for z, mask, _ in slices
        ]
    )
    low, high = spans[:, ::2].min(axis=0), spans[:, 1::2].max(axis=0)  # slice, row, column
    order = np.insert([1, 2], result.axis, 0)
    return np.stack([low[order], high[order]], axis=1)
