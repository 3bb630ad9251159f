"""The canvas that painters draw on. Lengths are in halves of the image's shorter side, from the centre, y down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError
from medsam_edge.modality import Modality

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Image = npt.NDArray[Any]

_FRACTION_BITS = 4  # cv2 takes corners of polygons in whole numbers of 1/16 pixel
_MIN_RADIUS = 3.2  # pixels; the slimmest object of this radius has MIN_PIXELS


class Canvas:
    """An image in the making: its random numbers, its label map, and the shapes and textures that painters share."""

    def __init__(self, shape: tuple[int, int], modality: Modality, seed: int, objects: int | None) -> None:
        self.height, self.width = shape
        self.unit = min(shape) / 2
        self.rng = np.random.default_rng([seed, list(Modality).index(modality)])
        self.labels = np.zeros(shape, dtype=np.uint16)
        self.count = 0
        self.objects = objects

    def grid(self) -> tuple[FloatArray, FloatArray]:
        """Return x of the columns, (1, W), and y of the rows, (H, 1)."""
        x = (np.arange(self.width, dtype=np.float32)[None] + 0.5 - self.width / 2) / self.unit
        y = (np.arange(self.height, dtype=np.float32)[:, None] + 0.5 - self.height / 2) / self.unit
        return x.astype(np.float32), y.astype(np.float32)

    def ellipse(self, x: float, y: float, rx: float, ry: float, angle: float = 0.0, wobble: float = 0.0) -> FloatArray:
        """Return an outline, (96, 2); `wobble` is the relative size of its random bumps."""
        turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        radius = np.ones(96)
        if wobble:
            bumps, shifts = self.rng.normal(0, wobble, 6), self.rng.uniform(0, 2 * np.pi, 6)
            radius += sum(bumps[k] * 2 / (k + 2) * np.cos((k + 2) * turn + shifts[k]) for k in range(6))
        along, across = rx * radius * np.cos(turn), ry * radius * np.sin(turn)
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([x + c * along - s * across, y + s * along + c * across], axis=1).astype(np.float32)

    def blob(self, x: float, y: float, rx: float, ry: float, angle: float = 0.0, wobble: float = 0.06) -> FloatArray:
        """Return an ellipse whose position, size, direction and outline vary a little."""
        dx, dy, turn = self.rng.normal(0, 0.06, 3) * (min(rx, ry), min(rx, ry), 1)
        grow = self.rng.uniform(0.94, 1.06)
        return self.ellipse(x + dx, y + dy, rx * grow, ry * grow, angle + turn, wobble)

    def _pixels(self, outline: FloatArray) -> npt.NDArray[np.int32]:
        middle = np.array([self.width, self.height]) / 2 - 0.5
        return np.asarray(np.rint((outline * self.unit + middle) * 2**_FRACTION_BITS), dtype=np.int32)

    def label(self, outline: FloatArray, value: int | None = None) -> None:
        """Fill the outline with the next label, or with `value`."""
        self.count += value is None
        cv2.fillPoly(self.labels, [self._pixels(outline)], float(value or self.count), shift=_FRACTION_BITS)

    def mask(self, *outlines: FloatArray, soft: float = 0.0) -> FloatArray:
        """Return (H, W) float32, 1 inside any outline; `soft` units blur the edge."""
        plane = np.zeros(self.labels.shape, dtype=np.uint8)
        for outline in outlines:
            cv2.fillPoly(plane, [self._pixels(outline)], 255, shift=_FRACTION_BITS)
        return self.blur(plane * np.float32(1 / 255), soft)

    def strokes(self, lines: Sequence[tuple[FloatArray, float]], soft: float = 0.0) -> FloatArray:
        """Draw open lines, each (points, width in units), as (H, W) float32 from 0 to 1."""
        plane = np.zeros(self.labels.shape, dtype=np.uint8)
        for points, width in lines:
            thick = max(1, round(width * self.unit))
            cv2.polylines(plane, [self._pixels(points)], False, 255, thick, cv2.LINE_AA, shift=_FRACTION_BITS)
        return self.blur(plane * np.float32(1 / 255), soft)

    def blur(self, plane: npt.NDArray[Any], units: float) -> FloatArray:
        """Blur by a Gaussian; a wide one works on a shrunken plane, so that its cost does not grow with its width."""
        sigma, plane = units * self.unit, np.asarray(plane, dtype=np.float32)
        if sigma < 0.3:
            return plane
        step = max(1, int(sigma / 2))
        small = (-(-self.width // step), -(-self.height // step))
        shrunk = cv2.resize(plane, small, interpolation=cv2.INTER_AREA) if step > 1 else plane
        shrunk = cv2.GaussianBlur(shrunk, (0, 0), sigma / step)
        return np.asarray(cv2.resize(shrunk, (self.width, self.height)) if step > 1 else shrunk, dtype=np.float32)

    def white(self) -> FloatArray:
        return self.rng.standard_normal(self.labels.shape, dtype=np.float32)

    def noise(self, grain: float, grain_y: float | None = None) -> FloatArray:
        """Return (H, W) smooth noise of about unit variance; it changes over the length `grain`, at least a pixel."""
        return self._octaves(1, grain, grain_y or grain)

    def fractal(self, grain: float) -> FloatArray:
        """Return (H, W) noise of five octaves; the widest has the length `grain`."""
        return self._octaves(5, grain, grain)

    def _octaves(self, number: int, grain_x: float, grain_y: float) -> FloatArray:
        total = np.zeros((1, 1), np.float32)
        for octave in range(number):
            columns = int(self.width / max(1.0, grain_x / 2**octave * self.unit)) + 3
            rows = int(self.height / max(1.0, grain_y / 2**octave * self.unit)) + 3
            finer = self.rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1.3)
            total = np.float32(0.6**octave) * finer + cv2.resize(total, (columns, rows))
        return np.asarray(cv2.resize(total, (self.width, self.height), interpolation=cv2.INTER_CUBIC))

    def scaled(self, plane: FloatArray, factor: float) -> FloatArray:
        """Shrink a plane by `factor` towards the centre and repeat its border."""
        matrix = cv2.getRotationMatrix2D((self.width / 2 - 0.5, self.height / 2 - 0.5), 0, factor)
        return np.asarray(cv2.warpAffine(plane, matrix, (self.width, self.height), borderMode=cv2.BORDER_REPLICATE))

    def places(self, region: BoolArray, number: int, largest: float) -> npt.NDArray[np.float64]:
        """Place separate circles in `region`, as large as fit, up to radius `largest`; (number, 3) x, y, radius."""
        inside = np.pad(region.astype(np.uint8)[1:-1, 1:-1], 1)
        room = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
        radius = min(max(largest * self.unit, 1.5 * _MIN_RADIUS), 0.6 * float(np.sqrt(inside.sum() / number)))
        while radius >= _MIN_RADIUS:
            found = self._try_places(np.flatnonzero(room > radius), number, radius)
            if len(found) == number:
                centres = np.array(found) + 0.5 - np.array([self.width, self.height]) / 2
                return np.column_stack([centres, self.rng.uniform(0.8, 1.0, number) * radius]) / self.unit
            radius *= 0.9
        raise InputError(f"objects: {number} more do not fit a {self.height}x{self.width} image")

    def _try_places(self, free: npt.NDArray[np.intp], number: int, radius: float) -> list[tuple[int, int]]:
        taken = np.zeros(self.labels.shape, dtype=np.uint8)
        found: list[tuple[int, int]] = []
        for place in self.rng.choice(free, 40 * number).tolist() if free.size else []:
            y, x = divmod(place, self.width)
            if len(found) < number and not taken[y, x]:
                found.append((x, y))
                cv2.circle(taken, (x, y), int(2.1 * radius), 1, -1)
        return found

    def scatter(self, region: BoolArray, largest: float, natural: int = 0, wobble: float = 0.06) -> None:
        """Label the objects in `region` that are still missing; `natural` of them if no number was asked for."""
        missing = natural if self.objects is None else self.objects - self.count
        if missing > 0:
            for x, y, r in self.places(region, missing, largest):
                self.label(self.ellipse(x, y, r, r * self.rng.uniform(0.75, 1.0), self.rng.uniform(0, np.pi), wobble))

    def paint(self, base: npt.NDArray[Any], values: npt.ArrayLike, spread: float = 0.0) -> FloatArray:
        """Fill the labelled objects on the base with their values; the last value serves all further objects."""
        given = np.atleast_1d(np.asarray(values, dtype=np.float32))
        table = np.pad(given, (1, max(0, self.count - given.size)), mode="edge")
        if spread:
            table += self.rng.uniform(-spread, spread, table.size).astype(np.float32)
        return np.where(self.labels > 0, table[self.labels], base).astype(np.float32, copy=False)

    def objects_mask(self, soft: float = 0.0) -> FloatArray:
        return self.blur(self.labels > 0, soft)

    def curve(self, x: float, y: float, angle: float, length: float, bend: float, points: int = 24) -> FloatArray:
        """Return a winding line, (points, 2); `bend` is the random change of direction per step, in radians."""
        turns = angle + np.cumsum(self.rng.normal(0, bend, points) + self.rng.normal(0, bend))
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (length / points)
        return (np.array([x, y]) + np.cumsum(steps, axis=0)).astype(np.float32)

    def tree(self, x: float, y: float, angle: float, length: float, width: float) -> list[tuple[FloatArray, float]]:
        """Return the lines of a vessel that starts at x, y and forks until it is thin."""
        line = self.curve(x, y, angle, length, 0.06)
        lines = [(np.concatenate([np.array([[x, y]], dtype=np.float32), line]), width)]
        if width > 0.008:
            for side in (-1, 1):
                start = line[self.rng.integers(8, 24) if side < 0 else -1]
                fork = angle + side * self.rng.uniform(0.25, 0.8)
                lines += self.tree(start[0], start[1], fork, length * 0.75, width * 0.66)
        return lines


def quantized(plane: npt.NDArray[Any], dtype: npt.DTypeLike = np.uint8, low: float = 0, high: float = 255) -> Image:
    """Clip and round a plane to whole numbers."""
    return np.asarray(np.rint(plane.clip(low, high)), dtype=dtype)
