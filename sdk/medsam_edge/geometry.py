"""One frozen object that maps an image, its boxes and the masks between image and network.

The network sees a square of `size` pixels: the image is shrunk (or grown) until its longest side
fills the square, placed at the top left, and zero-padded to the right and below (LiteMedSAM,
Rep-MedSAM). Training, calibration and inference all use this file, so that they cannot drift apart.

Coordinates are continuous: pixel (row i, column j) covers [j, j+1) × [i, i+1), so the tight box of
a mask is (xmin, ymin, xmax + 1, ymax + 1) and `image[y0:y1, x0:x1]` is what a whole-numbered box holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


CELL = 4
"""Side, in network pixels, of the square that one position of the embedding stands for."""
WINDOW_SIDES = (16, 20, 24, 32, 48, 64)
"""Sides of windows, in cells: few, so that many boxes have windows of equal size."""
MINIMUM_CONTEXT = 16.0
"""Network pixels that a window shows on each side of its box, at least."""
OUTSIDE = -10.0
"""Logit of what is not decoded: as surely background as a network ever is."""


@dataclass(frozen=True)
class Geometry:
    """How one image of `height` × `width` pixels lies in the network's `size` × `size` square.

    Attributes:
        height, width: the image, in pixels.
        size: side of the network's input square, in pixels.
        scale: network pixels per image pixel.
        new_height, new_width: the part of the square that the image fills, in network pixels.
    """

    height: int
    width: int
    size: int = 256

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ImageError(f"image: expected at least one row and one column, got {self.height}x{self.width}")

    @classmethod
    def of(cls, shape: tuple[int, ...], size: int) -> Geometry:
        """The geometry of an image of shape (H, W) or (H, W, 3)."""
        return cls(shape[0], shape[1], size)

    @property
    def scale(self) -> float:
        return self.size / max(self.height, self.width)

    @property
    def new_height(self) -> int:
        return max(1, int(self.height * self.scale + 0.5))

    @property
    def new_width(self) -> int:
        return max(1, int(self.width * self.scale + 0.5))

    def image_to_network(self, image: npt.NDArray[np.uint8], enlarging: int = cv2.INTER_LINEAR) -> FloatArray:
        """Resize, min-max over the image (not its padding) and pad.

        Args:
            image: (H, W) or (H, W, 3) uint8, RGB.
            enlarging: OpenCV's interpolation of an image smaller than the square; larger ones are averaged over areas.

        Returns:
            (3, size, size) float32 in [0, 1]; an image of one constant value gives zeros.
        """
        interpolation = enlarging if self.scale > 1 else cv2.INTER_AREA
        small = cv2.resize(image, (self.new_width, self.new_height), interpolation=interpolation)
        return _to_planes(small, self.size)

    def boxes_to_network(self, boxes: FloatArray) -> FloatArray:
        """(N, 4) x0, y0, x1, y1 in image pixels → the same in network pixels, float32.

        Each axis by its own ratio: the shorter one is shrunk to whole pixels, and boxes go where the image goes and
        where masks come back from.
        """
        ratio = np.array([self.new_width / self.width, self.new_height / self.height])
        return np.asarray(boxes * np.tile(ratio, 2), dtype=np.float32)

    def windows(self, boxes: FloatArray, reach: float) -> Windows:
        """Where the masks of boxes are decoded: all cells that a box grown by `reach` touches, in the largest's size.

        Args:
            boxes: (N, 4) in network pixels, N ≥ 1.
            reach: network pixels to each side.
        """
        side = self.size // CELL
        low = np.floor((boxes[:, :2] - reach) / CELL).clip(0, side - 1).astype(np.int64)
        high = np.ceil((boxes[:, 2:] + reach) / CELL).clip(low + 1, side).astype(np.int64)
        columns, rows = (high - low).max(axis=0).tolist()
        first = np.minimum(low, [side - columns, side - rows])
        return Windows(side, first[:, 1], first[:, 0], rows, columns)

    def mask_to_image(self, logits: FloatArray) -> tuple[int, int, BoolArray]:
        """One object's network logits → its mask in the image, cropped to where it is.

        The padding is cut off, the rest is interpolated bilinearly (half-pixel centres, PyTorch's
        `align_corners=False`) and cut at zero, exactly as if the whole plane had been resized; only the
        rows that a positive logit can reach are computed, so a nucleus on a slide does not cost a slide.

        Args:
            logits: (size, size) float32, positive inside the object.

        Returns:
            (top, left, mask): the crop's first row and column in the image, and its (h, w) bool mask; (0, 0, (0, 0))
            when nothing is positive.
        """
        inside = np.ascontiguousarray(logits[: self.new_height, : self.new_width], dtype=np.float32)
        positive = inside > 0
        rows = np.flatnonzero(positive.any(axis=1))
        if rows.size == 0:
            return 0, 0, np.zeros((0, 0), dtype=bool)
        columns = np.flatnonzero(positive.any(axis=0))
        top, bottom = _reach(int(rows[0]), int(rows[-1]), self.new_height, self.height)
        left, right = _reach(int(columns[0]), int(columns[-1]), self.new_width, self.width)
        source = (np.arange(top, bottom, dtype=np.float32) + 0.5) * (self.new_height / self.height) - 0.5
        source = source.clip(0, self.new_height - 1)
        above = source.astype(np.intp)
        below = np.minimum(above + 1, self.new_height - 1)
        weight = (source - above)[:, None].astype(np.float32)
        strip = inside[above] * (1 - weight) + inside[below] * weight  # (rows wanted, new_width)
        full = cv2.resize(strip, (self.width, bottom - top), interpolation=cv2.INTER_LINEAR)
        return _trim(top, left, full[:, left:right] > 0)


def window_groups(boxes: FloatArray, context: float, side: int) -> list[tuple[npt.NDArray[np.intp], Windows]]:
    """The windows that a decoder reads, boxes with windows of equal size together.

    A box's window depends on that box alone. The box grows on each side by `context` times its own extent, at least by
    `MINIMUM_CONTEXT`. The extents become the next of `WINDOW_SIDES`, or the whole grid. The window lies around the
    box's centre, rounded to cells and shifted inside the grid.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 in network pixels.
        context: share of the box's width and height.
        side: of the grid, in cells.

    Returns:
        (indices of boxes, their windows) for each size that occurs, small windows first; nothing for no boxes.
    """
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    extent = (high - low) + 2 * np.maximum(context * (high - low), MINIMUM_CONTEXT)
    sides = np.array([*(own for own in WINDOW_SIDES if own < side), side])
    size = sides[np.minimum(np.searchsorted(sides, extent / CELL), len(sides) - 1)]  # (N, 2) columns, rows
    first = np.floor((low + high) / (2 * CELL) - size / 2 + 0.5).astype(np.int64).clip(0, side - size)
    groups = []
    for columns, rows in np.unique(size, axis=0).tolist():
        indices = np.flatnonzero((size == (columns, rows)).all(axis=1))
        groups.append((indices, Windows(side, first[indices, 1], first[indices, 0], rows, columns)))
    return groups


@dataclass(frozen=True, eq=False)
class Windows:
    """Equally large parts of the embedding's grid, one around each box.

    Attributes:
        side: of the grid, in cells.
        top, left: (N,) the first row and column of each window, in cells.
        rows, columns: size of every window, in cells.
    """

    side: int
    top: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    rows: int
    columns: int

    @property
    def cells(self) -> npt.NDArray[np.int64]:
        """(N, rows·columns) int64: positions in the embedding, row by row."""
        y = self.top[:, None, None] + np.arange(self.rows)[:, None]
        x = self.left[:, None, None] + np.arange(self.columns)
        return np.asarray((y * self.side + x).reshape(len(self.top), -1))

    def planes(self, logits: FloatArray) -> Iterator[FloatArray]:
        """(N, rows·columns, 4, 4) logits of the cells → each box's (size, size) plane, `OUTSIDE` beyond its window."""
        for top, left, own in zip(self.top * CELL, self.left * CELL, logits, strict=True):
            plane = np.full((self.side * CELL, self.side * CELL), OUTSIDE, dtype=np.float32)
            pixels = own.reshape(self.rows, self.columns, CELL, CELL).transpose(0, 2, 1, 3)
            height, width = self.rows * CELL, self.columns * CELL
            plane[top : top + height, left : left + width] = pixels.reshape(height, width)
            yield plane


def _to_planes(image: npt.NDArray[Any], size: int) -> FloatArray:
    """Min-max an (h, w) or (h, w, 3) uint8 image of network scale and zero-pad it to (3, size, size) float32."""
    low, high = int(image.min()), int(image.max())
    scaled = (image.astype(np.float32) - low) / np.float32(max(high - low, 1e-8))
    planes = np.zeros((3, size, size), dtype=np.float32)
    planes[:, : image.shape[0], : image.shape[1]] = scaled if scaled.ndim == 2 else scaled.transpose(2, 0, 1)
    return planes


def _reach(first: int, last: int, small: int, large: int) -> tuple[int, int]:
    """Image rows [start, stop) whose interpolation touches network rows first..last."""
    ratio = large / small
    start = max(0, int(np.floor((first - 0.5) * ratio - 0.5)))
    stop = min(large, int(np.ceil((last + 1.5) * ratio + 0.5)))
    return start, max(stop, start + 1)


def _trim(top: int, left: int, mask: BoolArray) -> tuple[int, int, BoolArray]:
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return 0, 0, np.zeros((0, 0), dtype=bool)
    columns = np.flatnonzero(mask.any(axis=0))
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return top + int(rows[0]), left + int(columns[0]), np.ascontiguousarray(crop)
