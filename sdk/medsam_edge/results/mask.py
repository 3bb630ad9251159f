"""One object's mask, cropped to where it is."""

from __future__ import annotations

from dataclasses import dataclass

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
