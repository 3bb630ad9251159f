"""Small objects in large images: which part of the image the network sees for each box.

The network sees a square of 256 pixels. On it, a nucleus of 20 pixels on a slide of 2,560 would be 2 pixels. Such a box
is looked for in a tile, a part of the image that is embedded and cached as an image of its own. Tiles lie on fixed
grids, one grid for each size: near boxes share a tile, and a box that moves finds its embedding again. `auto` has
large tiles for many boxes, each half the size of the next larger; `crop` has a tile for one box and its surroundings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from medsam_edge.geometry import FloatArray
from medsam_edge.settings import Detail

T = TypeVar("T")


@dataclass(frozen=True)
class TileRule:
    """Which tiles there are. All sizes but `smallest` are fractions of the tile's side.

    Attributes:
        largest_box: the longest side that a box may span.
        ratio: side of a tile divided by the side of the next smaller one. A box that spans at least
            `largest_box / ratio` of the image's longer side gets no tile.
        context: what is shown on each side of a box, as far as the image goes.
        smallest: side in image pixels; None for the network's square, so that no tile is enlarged.
    """

    largest_box: float
    ratio: float
    context: float
    smallest: int | None


TILE_RULES = {
    "auto": TileRule(largest_box=24 / 256, ratio=2, context=20 / 256, smallest=None),
    "crop": TileRule(largest_box=1 / 4, ratio=math.sqrt(2), context=5 / 16, smallest=32),
}


@dataclass(frozen=True)
class View:
    """A part of an image that the network sees as one input, and the boxes that are looked for in it.

    Attributes:
        top, left, bottom, right: rows top..bottom and columns left..right of the image.
        indices: numbers of the boxes.
        is_tile: whether it is smaller than the image.
    """

    top: int
    left: int
    bottom: int
    right: int
    indices: tuple[int, ...]
    is_tile: bool = False

    @property
    def place(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right)."""
        return self.top, self.left, self.bottom, self.right

    @property
    def where(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def of(self, values: Sequence[T]) -> list[T]:
        """Those of the objects in the view, if there are any."""
        return [values[index] for index in self.indices] if values else []

    def boxes(self, boxes: FloatArray) -> FloatArray:
        """Those of the image's boxes (N, 4) that are looked for in the view, in pixels of the view."""
        return boxes[list(self.indices)] - np.array([self.left, self.top] * 2, dtype=np.float32)


def views(boxes: FloatArray, height: int, width: int, size: int, detail: Detail) -> list[View]:
    """Where to look for each box: in the image, or in a tile.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 in pixels of the image, inside it; NaN, no box, is looked for in the image.
        height, width: of the image, in pixels.
        size: side of the network's square, in pixels.

    Returns:
        The views that any box needs, none of them without boxes; every box is in exactly one.
    """
    places: dict[tuple[int, int, int, int], list[int]] = {}
    for index, box in enumerate(boxes.tolist()):
        tiled = detail in TILE_RULES and not math.isnan(box[0])
        tile = _tile(box, height, width, size, TILE_RULES[detail]) if tiled else None
        places.setdefault(tile or (0, 0, height, width), []).append(index)
    return [View(*place, tuple(indices), place != (0, 0, height, width)) for place, indices in places.items()]


def _tile(box: Sequence[float], height: int, width: int, size: int, rule: TileRule) -> tuple[int, int, int, int] | None:
    """The tile of a box as (top, left, bottom, right); None for the whole image."""
    x0, y0, x1, y1 = box
    longer, side, smallest = max(height, width), max(x1 - x0, y1 - y0), rule.smallest or size
    halvings = math.ceil(math.log(rule.largest_box * longer / side, rule.ratio) - 1)
    if halvings < 1 or longer < 2 * smallest:
        return None
    length = max(math.ceil(longer / rule.ratio**halvings), smallest)
    step = int(length * (1 - rule.largest_box - 2 * rule.context))
    top, left = _start((y0 + y1) / 2, height, length, step), _start((x0 + x1) / 2, width, length, step)
    return top, left, min(top + length, height), min(left + length, width)


def _start(centre: float, extent: int, length: int, step: int) -> int:
    """Start of the grid's tile whose middle is nearest to `centre`, moved inside the image."""
    return min(max(round((centre - length / 2) / step) * step, 0), max(extent - length, 0))
