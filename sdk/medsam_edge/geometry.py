"""One frozen object that maps an image, its boxes and the masks between image and network.

The network sees a square of `size` pixels: the image is shrunk (or grown) until its longest side
fills the square, placed at the top left, and zero-padded to the right and below (LiteMedSAM,
Rep-MedSAM). Training, calibration and inference all use this file, so that they cannot drift apart.

Coordinates are continuous: pixel (row i, column j) covers [j, j+1) × [i, i+1), so the tight box of
a mask is (xmin, ymin, xmax + 1, ymax + 1) and `image[y0:y1, x0:x1]` is what a whole-numbered box holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
ROWS_AT_ONCE = 16
"""Image rows interpolated at once, so that what is computed stays in the processor's cache."""
OUTSIDE = -10.0
"""Logit of what is not decoded: as surely background as a network ever is."""
MASK_LIMIT = 8.0
"""Largest absolute logit of a mask prompt."""


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
        return to_planes(self.resize(image, enlarging), self.size)

    def resize(self, image: npt.NDArray[np.uint8], enlarging: int = cv2.INTER_LINEAR) -> npt.NDArray[np.uint8]:
        """(H, W) or (H, W, 3) → (new_height, new_width) or (new_height, new_width, 3): what the network sees of it."""
        interpolation = enlarging if self.scale > 1 else cv2.INTER_AREA
        return np.asarray(cv2.resize(image, (self.new_width, self.new_height), interpolation=interpolation), np.uint8)

    def boxes_to_network(self, boxes: FloatArray) -> FloatArray:
        """(N, 4) x0, y0, x1, y1 in image pixels → the same in network pixels, float32.

        Each axis by its own ratio: the shorter one is shrunk to whole pixels, and boxes go where the image goes and
        where masks come back from.
        """
        ratio = np.array([self.new_width / self.width, self.new_height / self.height])
        return np.asarray(boxes * np.tile(ratio, 2), dtype=np.float32)

    def points_to_network(self, points: FloatArray) -> FloatArray:
        """(K, 2) x, y of pixels → the network pixels, float32, whose centres are where theirs are."""
        ratio = np.array([self.new_width / self.width, self.new_height / self.height])
        return np.asarray((points + 0.5) * ratio - 0.5, dtype=np.float32)

    def mask_to_network(self, mask: npt.NDArray[Any]) -> FloatArray:
        """(H, W) bool, or probabilities → (size, size) float32, logits within ±`MASK_LIMIT`; the padding is outside."""
        shrinks = self.scale < 1
        size = (self.new_width, self.new_height)
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=how), np.float32).clip(0, 1)
        plane = np.full((self.size, self.size), -MASK_LIMIT, dtype=np.float32)
        with np.errstate(divide="ignore"):  # a probability of 0 or 1 is ∓∞
            plane[: self.new_height, : self.new_width] = (np.log(small) - np.log1p(-small)).clip(
                -MASK_LIMIT, MASK_LIMIT
            )
        return plane

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

    def mask_to_image(self, logits: FloatArray, top: int = 0, left: int = 0) -> tuple[int, int, BoolArray]:
        """One object's network logits → its mask in the image, cropped to where it is.

        The padding is cut off, the rest is interpolated bilinearly (half-pixel centres, PyTorch's
        `align_corners=False`) and cut at zero, as if the whole plane had been resized, with `OUTSIDE` beyond the
        window. Only what a positive logit can reach is computed, so a nucleus on a slide does not cost a slide.

        Args:
            logits: (h, w) float32, positive inside the object: a window of the (size, size) plane.
            top, left: first row and column of the window in the plane.

        Returns:
            (top, left, mask): the crop's first row and column in the image, and its (h, w) bool mask; (0, 0, (0, 0))
            when nothing is positive.
        """
        inside = logits[: max(0, self.new_height - top), : max(0, self.new_width - left)]
        positive = inside > 0
        rows = np.flatnonzero(positive.any(axis=1))
        if rows.size == 0:
            return 0, 0, np.zeros((0, 0), dtype=bool)
        columns = np.flatnonzero(positive.any(axis=0))
        vertical = _Axis.of(int(rows[0]) + top, int(rows[-1]) + top, self.new_height, self.height)
        horizontal = _Axis.of(int(columns[0]) + left, int(columns[-1]) + left, self.new_width, self.width)
        part = _around(inside, vertical.low - top, vertical.high - top, horizontal.low - left, horizontal.high - left)
        wide = np.ascontiguousarray(horizontal.interpolate(part.T).T)  # (network rows, image columns)
        return _trim(vertical.start, horizontal.start, vertical.positive(wide))


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

    @classmethod
    def whole(cls, side: int, count: int) -> Windows:
        """`count` times the whole grid."""
        corner = np.zeros(count, dtype=np.int64)
        return cls(side, corner, corner, side, side)

    @property
    def cells(self) -> npt.NDArray[np.int64]:
        """(N, rows·columns) int64: positions in the embedding, row by row."""
        y = self.top[:, None, None] + np.arange(self.rows)[:, None]
        x = self.left[:, None, None] + np.arange(self.columns)
        return np.asarray((y * self.side + x).reshape(len(self.top), -1))

    def select(self, chosen: slice) -> Windows:
        """Some of them."""
        return Windows(self.side, self.top[chosen], self.left[chosen], self.rows, self.columns)

    def cut(self, index: int, top: int, left: int, logits: npt.NDArray[Any]) -> FloatArray:
        """A mask prompt in the cells of window `index`, (rows·columns, 4, 4) within ±`MASK_LIMIT`.

        Args:
            top, left: first row and column, in the plane, of what is known; the rest is outside the object.
            logits: (h, w).
        """
        first, across = int(self.top[index]) * CELL, int(self.left[index]) * CELL
        window = np.full((self.rows * CELL, self.columns * CELL), -MASK_LIMIT, dtype=np.float32)
        rows = slice(max(top, first), min(top + logits.shape[0], first + window.shape[0]))
        columns = slice(max(left, across), min(left + logits.shape[1], across + window.shape[1]))
        if rows.start < rows.stop and columns.start < columns.stop:
            known = logits[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            there = slice(rows.start - first, rows.stop - first), slice(columns.start - across, columns.stop - across)
            window[there] = known.astype(np.float32).clip(-MASK_LIMIT, MASK_LIMIT)
        cells: FloatArray = window.reshape(self.rows, CELL, self.columns, CELL).swapaxes(1, 2).reshape(-1, CELL, CELL)
        return cells

    def pixels(self, logits: FloatArray) -> Iterator[tuple[FloatArray, int, int]]:
        """(N, rows·columns, 4, 4) logits of the cells → each window's (4·rows, 4·columns) pixels, and its first row and
        column in the plane."""
        height, width = self.rows * CELL, self.columns * CELL
        for top, left, own in zip((self.top * CELL).tolist(), (self.left * CELL).tolist(), logits, strict=True):
            yield (
                own.reshape(self.rows, self.columns, CELL, CELL).transpose(0, 2, 1, 3).reshape(height, width),
                top,
                left,
            )


@dataclass(frozen=True, eq=False)
class _Axis:
    """Bilinear interpolation along one axis, of the image pixels start..stop that some network pixels can reach.

    Attributes:
        low, high: the network pixels that are read, low included, high not.
        below, above: the two neighbours of each image pixel, from `low`; weight: that of `above`.
    """

    start: int
    low: int
    high: int
    below: npt.NDArray[np.intp]
    above: npt.NDArray[np.intp]
    weight: FloatArray

    @classmethod
    def of(cls, first: int, last: int, small: int, large: int) -> _Axis:
        """For the network pixels first..last of `small`, and an image of `large` pixels."""
        start, stop = _reach(first, last, small, large)
        source = ((np.arange(start, stop) + 0.5) * (small / large) - 0.5).clip(0, small - 1)
        below = source.astype(np.intp)
        above = np.minimum(below + 1, small - 1)
        weight = (source - below).astype(np.float32)[:, None]
        low, high = int(below[0]), int(above[-1]) + 1
        return cls(start, low, high, below - low, above - low, weight)

    def interpolate(self, values: FloatArray) -> FloatArray:
        """(high − low, n) → (stop − start, n)."""
        result: FloatArray = values[self.below] * (1 - self.weight) + values[self.above] * self.weight
        return result

    def positive(self, values: FloatArray) -> BoolArray:
        """(high − low, n) → (stop − start, n): where `interpolate` gives more than 0, a few rows at a time."""
        mask = np.empty((len(self.weight), values.shape[1]), dtype=bool)
        for first in range(0, len(mask), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            piece = replace(self, below=self.below[rows], above=self.above[rows], weight=self.weight[rows])
            np.greater(piece.interpolate(values), 0, out=mask[rows])
        return mask


def _around(window: FloatArray, top: int, bottom: int, left: int, right: int) -> FloatArray:
    """Rows top..bottom and columns left..right of a window, `OUTSIDE` where they lie beyond it."""
    height, width = window.shape
    if top >= 0 and bottom <= height and left >= 0 and right <= width:
        return window[top:bottom, left:right]
    part = np.full((bottom - top, right - left), OUTSIDE, dtype=np.float32)
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    part[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = window[rows, columns]
    return part


def to_planes(image: npt.NDArray[Any], size: int) -> FloatArray:
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
