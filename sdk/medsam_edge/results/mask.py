"""One object's mask, cropped to where it is, and the logits it was made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A mask's rows top..top+h and columns left..left+w; `pixels` is (h, w) bool, (0, 0) for an empty mask."""

    top: int
    left: int
    pixels: npt.NDArray[np.bool_]

    @property
    def where(self) -> tuple[slice, slice]:
        height, width = self.pixels.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def empty(self) -> bool:
        return self.pixels.size == 0

    def moved(self, down: int, right: int) -> CroppedMask:
        """The same pixels elsewhere."""
        return CroppedMask(self.top + down, self.left + right, self.pixels)


EMPTY = CroppedMask(0, 0, np.zeros((0, 0), dtype=bool))


def cropped(plane: npt.NDArray[np.bool_]) -> CroppedMask:
    """(H, W) bool, cut to where it is."""
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not rows.size:
        return EMPTY
    top, left = int(rows[0]), int(columns[0])
    return CroppedMask(top, left, plane[top : rows[-1] + 1, left : columns[-1] + 1].copy())


@dataclass(frozen=True, eq=False)
class Logits:
    """What the decoder gave for one object, at network size: what a correction goes on from.

    Attributes:
        top, left: first row and column of the window in the network's square.
        values: (h, w), positive inside the object; float16, or float32 of a caller's mask; (0, 0) where not kept.
        view: rows top..bottom and columns left..right of the image that the square shows: (top, left, bottom, right).
    """

    top: int
    left: int
    values: npt.NDArray[np.floating[Any]]
    view: tuple[int, int, int, int] = (0, 0, 0, 0)

    def seen_in(self, view: tuple[int, int, int, int], keep: bool = True) -> Logits:
        """The same of a view; without `keep` only where it lies."""
        return replace(self, values=self.values if keep else self.values[:0, :0], view=view)
