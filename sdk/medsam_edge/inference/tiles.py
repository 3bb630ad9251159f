"""Small objects in large images: what part of the image each box is shown in.

The network sees a square of 256 pixels: a nucleus of 20 pixels on a slide of 2,560 becomes 2, and is lost. Such a box
is shown in a tile instead, a part of the image that is embedded and cached as an image of its own. Tiles stand on fixed
grids, a grid for each size, so that near boxes share one and a box that moves finds its embedding again. `auto` has
large tiles for many boxes, each half the size of the one above; `crop` has tiles for one box with its surroundings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsam_edge.geometry import FloatArray
from medsam_edge.settings import Detail


@dataclass(frozen=True)
class Tiles:
    """Which tiles there are.

    Attributes:
        most: of a tile's side, what a box's longer side fills at most.
        ratio: of a tile's side to that of the next smaller ones. A box that fills no less than most / ratio of the
            image's longer side gets no tile.
        context: of a tile's side, what is shown around a box, but beyond the image.
        smallest: side in pixels of the image; None for the network's square, so that no tile is enlarged.
    """

    most: float
    ratio: float
    context: float
    smallest: int | None


TILES = {
    "auto": Tiles(most=24 / 256, ratio=2, context=20 / 256, smallest=None),
    "crop": Tiles(most=1 / 4, ratio=math.sqrt(2), context=5 / 16, smallest=32),
}


@dataclass(frozen=True)
class View:
    """A part of an image, rows top..bottom and columns left..right, and the boxes that are looked for in it.

    Attributes:
        own: their numbers.
    """

    top: int
    left: int
    bottom: int
    right: int
    own: tuple[int, ...]

    @property
    def where(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def boxes(self, boxes: FloatArray) -> FloatArray:
        """Of all boxes (N, 4) of the image, its own, in its own pixels."""
        return boxes[list(self.own)] - np.array([self.left, self.top] * 2, dtype=np.float32)


def views(boxes: FloatArray, height: int, width: int, size: int, detail: Detail) -> list[View]:
    """Where to look for each box: in the image, or in a tile.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 in pixels of the image, inside it.
        height, width: of the image, in pixels.
        size: side of the network's square.

    Returns:
        The views that any box needs, none of them empty; every box is in one.
    """
    places: dict[tuple[int, int, int, int], list[int]] = {}
    for index, box in enumerate(boxes.tolist()):
        tile = _tile(box, height, width, size, TILES[detail]) if detail in TILES else None
        places.setdefault(tile or (0, 0, height, width), []).append(index)
    return [View(*place, tuple(own)) for place, own in places.items()]


def _tile(box: Sequence[float], height: int, width: int, size: int, tiles: Tiles) -> tuple[int, int, int, int] | None:
    """The tile of a box as (top, left, bottom, right); None for the image itself."""
    x0, y0, x1, y1 = box
    whole, side, smallest = max(height, width), max(x1 - x0, y1 - y0), tiles.smallest or size
    smaller = math.ceil(math.log(tiles.most * whole / side, tiles.ratio) - 1)
    if smaller < 1 or whole < 2 * smallest:
        return None
    length = max(math.ceil(whole / tiles.ratio**smaller), smallest)
    step = int(length * (1 - tiles.most - 2 * tiles.context))
    top, left = _start((y0 + y1) / 2, height, length, step), _start((x0 + x1) / 2, width, length, step)
    return top, left, min(top + length, height), min(left + length, width)


def _start(centre: float, extent: int, length: int, step: int) -> int:
    """The grid's tile whose middle is nearest, moved inside the image."""
    return min(max(round((centre - length / 2) / step) * step, 0), max(extent - length, 0))
