"""Synthetic medical pictures with known outlines, for demos, tests and benchmarks without anybody's data.

Every picture is drawn the same way: shapes go into a label map, a table turns labels into tissue values, and
the modality's own degradation (blur, bias field, speckle, noise, hairs, highlights) is laid over it. Lengths are
in units of half the image's shorter side, measured from the centre, x to the right and y down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError, InputError, ModalityError
from medsam_edge.modality import Modality

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Picture = npt.NDArray[Any]
Color = tuple[float, float, float]

MIN_SIDE = 64
"""Shortest side, in pixels: below it the smallest organ has no room for MIN_PIXELS."""
MIN_DEPTH = 8
"""Fewest slices of a volume."""
MIN_PIXELS = 10
"""Fewest pixels of a labelled object."""
_FRACTION_BITS = 4  # cv2 draws polygons with whole numbers of 1/16 pixel
_MIN_RADIUS = 3.2  # pixels; the slimmest object of this radius still has MIN_PIXELS


@dataclass(frozen=True)
class Phantom:
    """A synthetic picture and its ground truth.

    Attributes:
        image: (H, W) grey, (H, W, 3) RGB or (D, H, W), in the modality's own dtype and units (CT int16 in HU).
        labels: uint16, (H, W) or (D, H, W); 0 background, 1..N objects, none missing.
        modality: what the picture imitates.
        spacing_mm: pixel or voxel size in the order of the array's axes: (y, x) or (z, y, x).
    """

    image: Picture
    labels: npt.NDArray[np.uint16]
    modality: Modality
    spacing_mm: tuple[float, ...]

    @property
    def boxes(self) -> FloatArray:
        """Tight boxes in label order, far edges exclusive, in one pass over the labels whatever their number.

        Returns:
            float32, (N, 4) x0, y0, x1, y1 or (N, 6) x0, y0, z0, x1, y1, z1.
        """
        planes = self.labels.reshape(-1, *self.labels.shape[-2:])
        sides = planes.shape[::-1]
        seen = [np.zeros((int(planes.max()) + 1, side), dtype=bool) for side in sides]  # x, y, z
        for z, plane in enumerate(planes):
            rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
            if rows.size:
                part = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                seen[0][part, np.arange(columns[0], columns[-1] + 1)] = True
                seen[1][part, np.arange(rows[0], rows[-1] + 1)[:, None]] = True
                seen[2][part, z] = True
        axes = seen[: self.labels.ndim]
        low = [hit[1:].argmax(axis=1) for hit in axes]
        high = [hit.shape[1] - hit[1:, ::-1].argmax(axis=1) for hit in axes]
        return np.stack(low + high, axis=1).astype(np.float32)


def phantom(
    modality: Modality | str, shape: tuple[int, int] = (256, 256), seed: int = 0, objects: int | None = None
) -> Phantom:
    """Draw one picture; the same arguments give the same bits.

    Args:
        modality: one of the eleven, or a name of it.
        shape: (H, W) in pixels, each at least MIN_SIDE.
        seed: chooses the picture, 0 or more.
        objects: exactly how many labelled objects; None is the number natural to the modality. Fewer than its organs
            leaves the later ones in the picture without a label; more adds lesions, nodules, nuclei and the like.
            An X-ray at least 1.5 times as wide as high is a dental panorama, whose objects are teeth.

    Raises:
        ModalityError: the modality is unknown or None.
        ImageError: a shape that is not two whole numbers of at least MIN_SIDE.
        InputError: `objects` below 1 or more than fit, or a negative seed.
    """
    kind = _modality(modality)
    _check(shape, (MIN_SIDE, MIN_SIDE), seed, objects)
    canvas = _Canvas(shape, kind, seed, objects)
    image = _PAINTERS[kind](canvas)
    labels, number = canvas.labels, objects or canvas.count
    labels[labels > number] = 0
    if np.bincount(labels.ravel(), minlength=number + 1)[1:].min() < MIN_PIXELS:
        raise InputError(f"objects: {number} {kind} objects do not fit a {shape[0]}x{shape[1]} image")
    pixel_mm = _FIELD_MM[kind] / min(shape)
    return Phantom(image, labels, kind, (pixel_mm, pixel_mm))


def phantom_volume(modality: Modality | str, shape: tuple[int, int, int], seed: int = 0, objects: int = 1) -> Phantom:
    """Draw ellipsoids in a body that changes smoothly along z; slice by slice, so it needs little more than it returns.

    Args:
        modality: CT (int16, HU), MR (uint16) or PET (float32, SUV).
        shape: (D, H, W) in voxels, D at least MIN_DEPTH, H and W at least MIN_SIDE.
        seed: chooses the picture, 0 or more.
        objects: exactly how many; the first one spans nearly all slices.

    Raises:
        ModalityError: the modality is unknown or None.
        ImageError: a shape that is not three whole numbers of at least these sizes.
        InputError: another modality, `objects` below 1 or more than fit, or a negative seed.
    """
    kind = _modality(modality)
    if kind not in _VOLUMES:
        raise InputError(f"modality: expected a volume's, {', '.join(map(str, _VOLUMES))}, got {kind}")
    _check(shape, (MIN_DEPTH, MIN_SIDE, MIN_SIDE), seed, objects)
    depth, height, width = shape
    body, finish, tone, dtype = _VOLUMES[kind]
    canvas = _Canvas((height, width), kind, seed, objects)
    base, region = body(canvas)
    solids = canvas.places(region, objects, 0.3)
    middle, half = _spans(canvas.rng, depth, objects)
    sway = canvas.rng.uniform(0, 2 * np.pi, objects)
    tones = tone + canvas.rng.uniform(-0.15, 0.15, objects) * abs(tone)
    image, labels = np.empty(shape, dtype=dtype), np.zeros(shape, dtype=np.uint16)
    for z in range(depth):
        canvas.labels = labels[z]
        across = np.sqrt(np.clip(1 - ((z - middle) / half) ** 2, 0, None))
        for index in np.flatnonzero(across * solids[:, 2] * canvas.unit >= 1):
            x, y, radius = solids[index]
            lean = 0.15 * radius * np.sin(2 * np.pi * z / depth + sway[index])
            size = 0.85 * radius * across[index]
            canvas.label(canvas.ellipse(x + lean, y - lean, size, 0.8 * size, sway[index]), int(index) + 1)
        shrink = 1 - 0.04 * (2 * z / depth - 1) ** 2
        image[z] = finish(canvas, canvas.paint(canvas.scaled(base, shrink), tones))
    pixel_mm = _FIELD_MM[kind] / min(height, width)
    return Phantom(image, labels, kind, (_SLICE_MM[kind], pixel_mm, pixel_mm))


def _modality(modality: Modality | str) -> Modality:
    found = Modality.parse(modality)
    if found is None:
        raise ModalityError("modality: expected one of the eleven, got None")
    return found


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check(shape: Sequence[int], smallest: Sequence[int], seed: int, objects: int | None) -> None:
    fits = isinstance(shape, (tuple, list)) and len(shape) == len(smallest) and all(map(_whole, shape))
    if not fits or any(side < low for side, low in zip(shape, smallest, strict=True)):
        raise ImageError(f"shape: expected {len(smallest)} whole numbers, at least {tuple(smallest)}, got {shape!r}")
    if not _whole(seed) or seed < 0:
        raise InputError(f"seed: expected a whole number, 0 or more, got {seed!r}")
    if objects is not None and not (_whole(objects) and 1 <= objects < 2**16):
        raise InputError(f"objects: expected a whole number from 1 to 65535, got {objects!r}")


def _spans(rng: np.random.Generator, depth: int, objects: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Middle slice and half length of each ellipsoid; every one reaches its middle slice."""
    half = rng.uniform(0.15, 0.4, objects) * depth
    half[0] = 0.48 * depth
    middle = rng.uniform(half, depth - half)
    return np.floor(middle), half


class _Canvas:
    """A picture in the making: its random numbers, its label map, and the shapes and textures all painters share."""

    def __init__(self, shape: tuple[int, int], modality: Modality, seed: int, objects: int | None) -> None:
        self.height, self.width = shape
        self.unit = min(shape) / 2
        self.rng = np.random.default_rng([seed, list(Modality).index(modality)])
        self.labels = np.zeros(shape, dtype=np.uint16)
        self.count = 0
        self.objects = objects

    def grid(self) -> tuple[FloatArray, FloatArray]:
        """x of the columns, (1, W), and y of the rows, (H, 1)."""
        x = (np.arange(self.width, dtype=np.float32)[None] + 0.5 - self.width / 2) / self.unit
        y = (np.arange(self.height, dtype=np.float32)[:, None] + 0.5 - self.height / 2) / self.unit
        return x.astype(np.float32), y.astype(np.float32)

    def ellipse(self, x: float, y: float, rx: float, ry: float, angle: float = 0.0, wobble: float = 0.0) -> FloatArray:
        """(96, 2) outline; `wobble` is the relative size of its random bumps."""
        turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        radius = np.ones(96)
        if wobble:
            bumps, shifts = self.rng.normal(0, wobble, 6), self.rng.uniform(0, 2 * np.pi, 6)
            radius += sum(bumps[k] * 2 / (k + 2) * np.cos((k + 2) * turn + shifts[k]) for k in range(6))
        along, across = rx * radius * np.cos(turn), ry * radius * np.sin(turn)
        c, s = np.cos(angle), np.sin(angle)
        return np.stack([x + c * along - s * across, y + s * along + c * across], axis=1).astype(np.float32)

    def blob(self, x: float, y: float, rx: float, ry: float, angle: float = 0.0, wobble: float = 0.06) -> FloatArray:
        """An ellipse as nature would draw it: place, size, direction and outline vary a little."""
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
        """(H, W) float32, 1 inside any outline, its edge blurred by `soft` units."""
        plane = np.zeros(self.labels.shape, dtype=np.uint8)
        for outline in outlines:
            cv2.fillPoly(plane, [self._pixels(outline)], 255, shift=_FRACTION_BITS)
        return self.blur(plane * np.float32(1 / 255), soft)

    def strokes(self, lines: Sequence[tuple[FloatArray, float]], soft: float = 0.0) -> FloatArray:
        """(H, W) float32 in 0..1 of open lines, each (points, width in units)."""
        plane = np.zeros(self.labels.shape, dtype=np.uint8)
        for points, width in lines:
            thick = max(1, round(width * self.unit))
            cv2.polylines(plane, [self._pixels(points)], False, 255, thick, cv2.LINE_AA, shift=_FRACTION_BITS)
        return self.blur(plane * np.float32(1 / 255), soft)

    def blur(self, plane: npt.NDArray[Any], units: float) -> FloatArray:
        """Gaussian blur; a wide one works on a shrunken plane, so that its cost does not grow with its width."""
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
        """(H, W) smooth noise of about unit variance; `grain` is the length over which it changes, at least a pixel."""
        return self._spread(self._coarse(grain, grain_y or grain))

    def fractal(self, grain: float) -> FloatArray:
        """(H, W) noise of five octaves, the widest as wide as `grain`."""
        total = self._coarse(grain, grain)
        for octave in range(1, 5):
            finer = self._coarse(grain / 2**octave, grain / 2**octave)
            total = np.float32(0.6**octave) * finer + cv2.resize(total, finer.shape[::-1])
        return self._spread(total)

    def _coarse(self, grain_x: float, grain_y: float) -> FloatArray:
        columns = int(self.width / max(1.0, grain_x * self.unit)) + 3
        rows = int(self.height / max(1.0, grain_y * self.unit)) + 3
        return np.asarray(self.rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1.3))

    def _spread(self, coarse: FloatArray) -> FloatArray:
        return np.asarray(cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC))

    def scaled(self, plane: FloatArray, factor: float) -> FloatArray:
        """The plane shrunk by `factor` towards the centre, its border repeated."""
        middle = (self.width / 2 - 0.5, self.height / 2 - 0.5)
        matrix = cv2.getRotationMatrix2D(middle, 0, factor)
        return np.asarray(cv2.warpAffine(plane, matrix, (self.width, self.height), borderMode=cv2.BORDER_REPLICATE))

    def places(self, region: BoolArray, number: int, largest: float) -> npt.NDArray[np.float64]:
        """(number, 3) x, y, radius of circles that lie in `region` and apart; as large as fits, up to `largest`.

        Raises:
            InputError: they do not fit even when as small as an object may be.
        """
        inside = np.pad(region.astype(np.uint8)[1:-1, 1:-1], 1)
        room = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
        radius = min(max(largest * self.unit, 1.5 * _MIN_RADIUS), 0.6 * float(np.sqrt(inside.sum() / number)))
        while radius >= _MIN_RADIUS:
            found = self._try_places(np.flatnonzero(room > radius), number, radius)
            if len(found) == number:
                x, y = np.asarray(found, dtype=np.float64).T
                sizes = self.rng.uniform(0.8, 1.0, number) * radius
                shift = (x + 0.5 - self.width / 2, y + 0.5 - self.height / 2, sizes)
                return np.stack(shift, axis=1) / self.unit  # (number, 3)
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
        """Label as many further objects in `region` as are wanted, `natural` when the caller did not say."""
        missing = natural if self.objects is None else self.objects - self.count
        if missing > 0:
            for x, y, r in self.places(region, missing, largest):
                slim = self.rng.uniform(0.75, 1.0)
                self.label(self.ellipse(x, y, r, r * slim, self.rng.uniform(0, np.pi), wobble))

    def paint(self, base: npt.NDArray[Any], values: npt.ArrayLike, spread: float = 0.0) -> FloatArray:
        """The base with every labelled object in its value; objects after the last value have the last value."""
        given = np.atleast_1d(np.asarray(values, dtype=np.float32))
        highest = max(self.count, given.size)
        table = np.concatenate([[0], given, np.repeat(given[-1], highest - given.size)]).astype(np.float32)
        if spread:
            table += self.rng.uniform(-spread, spread, table.size).astype(np.float32)
        return np.where(self.labels > 0, table[self.labels], base).astype(np.float32, copy=False)

    def objects_mask(self, soft: float = 0.0) -> FloatArray:
        return self.blur(self.labels > 0, soft)

    def curve(self, x: float, y: float, angle: float, length: float, bend: float, points: int = 24) -> FloatArray:
        """(points, 2) of a line that wanders: `bend` is the random change of direction per step, in radians."""
        turns = angle + np.cumsum(self.rng.normal(0, bend, points) + self.rng.normal(0, bend))
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * (length / points)
        return (np.array([x, y]) + np.cumsum(steps, axis=0)).astype(np.float32)

    def tree(self, x: float, y: float, angle: float, length: float, width: float) -> list[tuple[FloatArray, float]]:
        """Lines of a vessel that starts at x, y and forks until it is thin."""
        line = self.curve(x, y, angle, length, 0.06)
        lines = [(np.concatenate([np.array([[x, y]], dtype=np.float32), line]), width)]
        if width > 0.008:
            for side in (-1, 1):
                start = line[self.rng.integers(8, 24) if side < 0 else -1]
                fork = angle + side * self.rng.uniform(0.25, 0.8)
                lines += self.tree(start[0], start[1], fork, length * 0.75, width * 0.66)
        return lines


def _grey(plane: npt.NDArray[Any], dtype: npt.DTypeLike = np.uint8, low: float = 0, high: float = 255) -> Picture:
    return np.asarray(np.rint(plane.clip(low, high)), dtype=dtype)


def _plain(canvas: _Canvas, color: Color) -> FloatArray:
    """(3, H, W) of one colour; planes, because colours are mixed plane by plane."""
    return np.stack([np.full(canvas.labels.shape, tone, dtype=np.float32) for tone in color])


def _mix(planes: FloatArray, color: Color, amount: npt.NDArray[Any]) -> None:
    """Move the (3, H, W) planes towards a colour by `amount`, 0..1, in place."""
    for plane, tone in zip(planes, color, strict=True):
        plane += amount * (np.float32(tone) - plane)


def _rgb(canvas: _Canvas, planes: FloatArray, sigma: float) -> Picture:
    """(3, H, W) float → (H, W, 3) uint8 with sensor noise."""
    planes += canvas.white() * np.float32(sigma)
    return np.ascontiguousarray(_grey(planes).transpose(1, 2, 0))  # (H, W, 3)


def _ct_body(c: _Canvas) -> tuple[FloatArray, BoolArray]:
    """(H, W) HU of a torso without its organs, and where organs may lie."""
    cavity = c.mask(c.blob(0, -0.04, 0.77, 0.53)) > 0
    hu = np.full(c.labels.shape, -1000, dtype=np.float32)
    hu[c.mask(c.blob(0, 0, 0.93, 0.71, wobble=0.02)) > 0] = -100
    hu[c.mask(c.ellipse(0, -0.01, 0.84, 0.61), c.blob(-0.2, 0.5, 0.2, 0.12), c.blob(0.2, 0.5, 0.2, 0.12)) > 0] = 55
    hu[cavity] = -95
    ribs = [c.blob(0.8 * np.cos(t), 0.57 * np.sin(t), 0.06, 0.022, t + np.pi / 2) for t in np.linspace(-2.8, 3.4, 12)]
    hu[c.mask(*ribs, c.blob(0, 0.6, 0.04, 0.08), c.blob(0, 0.5, 0.16, 0.03)) > 0] = 480
    return hu, cavity


def _ct_finish(c: _Canvas, hu: FloatArray) -> Picture:
    return _grey(c.blur(hu, 0.007) + c.noise(0.012) * 13, np.int16, -1024, 3071)


def _ct_torso(c: _Canvas) -> tuple[FloatArray, BoolArray]:
    """The body of a volume, with a spine and bowel fat that a slice draws for itself."""
    hu, cavity = _ct_body(c)
    spine = c.mask(c.blob(0, 0.42, 0.16, 0.13)) > 0
    hu[cavity] += 30 * (c.fractal(0.3)[cavity] > 0.3)
    hu[spine] = 420
    return hu, cavity & (c.blur(spine, 0.02) < 0.02)


def _ct(c: _Canvas) -> Picture:
    """Upper abdomen: liver, spleen, two kidneys, vertebra, aorta; then lesions of liver and spleen."""
    hu, cavity = _ct_body(c)
    for _ in range(14):
        x, y = c.rng.uniform(-0.1, 0.45), c.rng.uniform(-0.42, 0.05)
        loop = c.mask(c.blob(x, y, 0.09, 0.07, c.rng.uniform(0, 3), 0.1)) > 0
        hu[loop & cavity] = c.rng.choice([20, 35, 50, -650], p=[0.3, 0.3, 0.3, 0.1])
    c.label(c.blob(-0.40, -0.15, 0.34, 0.30, -0.35, 0.09))
    c.label(c.blob(0.58, 0.02, 0.12, 0.24, 0.25))
    c.label(c.blob(-0.34, 0.28, 0.10, 0.145, 0.3))
    c.label(c.blob(0.34, 0.28, 0.10, 0.145, -0.3))
    c.labels[~cavity] = 0
    c.label(c.blob(0, 0.40, 0.15, 0.12))
    c.label(c.blob(0.02, 0.20, 0.075, 0.075))
    c.scatter((c.labels == 1) | (c.labels == 2), 0.07)
    hu = c.paint(hu, [95, 110, 118, 118, 420, 120, 45])
    hu[c.labels == 5] += 120 * np.abs(c.noise(0.03)[c.labels == 5])
    hu[c.mask(c.blob(-0.32, 0.28, 0.03, 0.06), c.blob(0.32, 0.28, 0.03, 0.06)) > 0] = 20
    return _ct_finish(c, hu + (hu > -300) * c.fractal(0.15) * 6)


def _mr_head(c: _Canvas) -> tuple[FloatArray, BoolArray]:
    """(H, W) signal of an axial T1-like head, and where lesions may lie."""
    signal = 780 * c.mask(c.ellipse(0, 0, 0.74, 0.92)) - 700 * c.mask(c.ellipse(0, 0, 0.69, 0.87))
    brain = c.mask(c.blob(0, 0, 0.63, 0.80, wobble=0.015)) > 0
    depth = cv2.distanceTransform(brain.astype(np.uint8), cv2.DIST_L2, 3) / c.unit
    folds = np.abs(c.noise(0.11))
    tissue = np.where((depth < 0.05) | ((folds < 0.55) & (depth < 0.27)), 420, 640)
    tissue[(folds < 0.13) & (depth < 0.22)] = 170
    tissue[np.broadcast_to(np.abs(c.grid()[0]) < 0.012, tissue.shape) & (depth < 0.5)] = 150
    tissue[c.mask(c.blob(-0.19, 0.0, 0.06, 0.15, 0.3), c.blob(0.19, 0.0, 0.06, 0.15, -0.3)) > 0] = 500
    return np.where(brain, tissue, signal).astype(np.float32), brain & (depth > 0.03)


def _mr_finish(c: _Canvas, signal: FloatArray) -> Picture:
    """Coil shading and Rician noise: the magnitude of a signal with noise in both channels."""
    x, y = c.grid()
    shaded = c.blur(signal, 0.008) * (1 + 0.18 * x - 0.15 * y)
    return _grey(np.hypot(shaded + 28 * c.white(), 28 * c.white()), np.uint16, 0, 4095)


def _mr(c: _Canvas) -> Picture:
    """Head: a tumour and the two lateral ventricles; then further lesions."""
    signal, brain = _mr_head(c)
    side = c.rng.choice([-1, 1])
    c.label(c.blob(0.36 * side, c.rng.uniform(-0.35, 0.35), 0.13, 0.16, wobble=0.12))
    c.label(c.blob(-0.085, -0.08, 0.055, 0.25, 0.15))
    c.label(c.blob(0.085, -0.08, 0.055, 0.25, -0.15))
    c.scatter(brain & (c.objects_mask(0.01) < 0.05), 0.07)
    signal = c.paint(signal, [810, 110, 110, 830], spread=25)
    return _mr_finish(c, signal + (signal > 300) * c.fractal(0.08) * (18 + 25 * (signal > 700)))


def _pet_body(c: _Canvas) -> tuple[FloatArray, BoolArray]:
    """(H, W) SUV of a chest with a warm heart, and where hot spots may lie."""
    body = c.blob(0, 0, 0.92, 0.66, wobble=0.02)
    inner = c.mask(c.ellipse(0, 0, 0.84, 0.58)) > 0
    uptake = 0.9 * c.mask(body) + 0.3 * c.mask(body) * c.noise(0.3) * 0.5
    uptake[c.mask(c.blob(-0.43, -0.05, 0.28, 0.40), c.blob(0.45, -0.05, 0.26, 0.38)) > 0] = 0.4
    uptake[c.mask(c.blob(0, 0.42, 0.11, 0.10), c.blob(0, -0.2, 0.12, 0.16)) > 0] = 1.7
    heart = c.mask(c.ellipse(0.2, -0.1, 0.2, 0.16, 0.6)) > 0
    uptake[heart] = 3.2
    uptake[c.mask(c.ellipse(0.23, -0.08, 0.11, 0.08, 0.6)) > 0] = 1.5
    return uptake, inner & ~heart


def _pet_finish(c: _Canvas, uptake: FloatArray) -> Picture:
    """The scanner's wide point spread and noise that grows with the counts."""
    spread = c.blur(uptake, 0.028)
    counts = c.noise(0.03) * np.sqrt(spread.clip(0.02, None)) * np.float32(0.09)
    return np.asarray((spread + counts).clip(0, None), dtype=np.float32)


def _pet(c: _Canvas) -> Picture:
    """Chest: hot spots of various uptake."""
    uptake, region = _pet_body(c)
    c.scatter(region, 0.13, natural=3)
    return _pet_finish(c, c.paint(uptake, 7.5, spread=2))


def _us(c: _Canvas) -> Picture:
    """A dark mass with a shadow behind it, in a fan-shaped or a full field of view."""
    x, y = c.grid()
    top, bottom = -c.height / 2 / c.unit, c.height / 2 / c.unit
    echo = 0.42 + 0.06 * c.fractal(0.5) + 0.10 * c.noise(1.2, 0.07) * (y < bottom * 0.6)
    field = np.ones(c.labels.shape, dtype=bool)
    if c.rng.random() < 0.5:
        reach = np.hypot(x, y - top + 0.5)
        field = (reach > 0.55) & (reach < bottom - top + 0.45) & (np.abs(x) < 0.75 * (y - top + 0.5))
    c.label(c.blob(c.rng.uniform(-0.2, 0.2), c.rng.uniform(-0.15, 0.1), 0.30, 0.21, wobble=0.13))
    near = cv2.erode(field.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    c.scatter(near & (c.objects_mask(0.02) < 0.02), 0.12)
    behind = np.maximum.accumulate(c.labels > 0, axis=0) & (c.labels == 0)
    echo = c.paint(echo, 0.12, spread=0.03) * (1 - 0.4 * c.blur(behind, 0.03))
    echo = c.blur(echo, 0.012) * (1.15 - 0.25 * (y - top))
    echo += 0.4 * np.exp(-(((y - top - 0.12 - 0.02 * c.noise(1.0)) / 0.03) ** 2))
    speckle = np.hypot(c.noise(0.022, 0.012), c.noise(0.022, 0.012)) / np.float32(1.4)
    return _grey(255 * field * echo.clip(0.03, None) * speckle**0.75)


def _xray(c: _Canvas) -> Picture:
    """Chest: two lungs and the heart; then nodules in the lungs. A wide image is a dental panorama instead."""
    if c.width >= 1.5 * c.height:
        return _teeth(c)
    x, y = c.grid()
    tissue = 165 + 12 * c.fractal(0.6) - 25 * np.abs(x) - 90 * (1 - c.mask(c.ellipse(0, 0.35, 1.08, 1.25), soft=0.03))
    domes = c.mask(c.blob(-0.46, 0.78, 0.45, 0.33), c.blob(0.46, 0.82, 0.45, 0.33)) > 0
    c.label(c.blob(-0.44, 0.0, 0.31, 0.66, 0.08, 0.03))
    c.label(c.blob(0.44, -0.02, 0.29, 0.64, -0.08, 0.03))
    c.labels[domes] = 0
    c.label(c.blob(0.13, 0.28, 0.27, 0.25, 0.5, 0.05))
    c.scatter((c.labels == 1) | (c.labels == 2), 0.07)
    film = c.blur(c.paint(tissue, [62, 66, 185, 128], spread=4), 0.014)
    film += 30 * c.mask(c.ellipse(0, 0, 0.09, 1.2), soft=0.02) * (1 + 0.2 * np.sin(38 * y))
    clavicles = [(np.array([[s * 0.08, -0.62], [s * 0.4, -0.74], [s * 0.85, -0.8]], np.float32), 0.06) for s in (-1, 1)]
    film += 24 * c.strokes(_ribs(), soft=0.008) + 28 * c.strokes(clavicles, soft=0.012)
    roots = [(s * 0.2, 0, np.pi * (s < 0) + s * a) for s in (-1, 1) for a in (-0.9, -0.2, 0.6)]
    film += 16 * c.strokes([line for root in roots for line in c.tree(*root, 0.22, 0.028)], soft=0.012)
    return _grey(film + 4 * c.white())


def _ribs() -> list[tuple[FloatArray, float]]:
    """Nine pairs, from the spine outwards and down."""
    turn, arcs = np.linspace(0.15, np.pi * 0.86, 24), []
    for k in range(9):
        reach = (0.62 + 0.15 * np.sin(min(k, 6) / 6 * np.pi / 2)) * (1 - np.cos(turn)) / 1.9
        fall = 0.17 * k - 0.72 + 0.34 * (0.5 - np.cos(turn - 0.9))
        arcs += [(np.stack([side * reach, fall], axis=1).astype(np.float32), 0.05) for side in (-1, 1)]
    return arcs


def _teeth(c: _Canvas) -> Picture:
    """Dental panorama: two rows of teeth in curved jaws, 32 of them or as many as are wanted."""
    x, y = c.grid()
    bow = 0.09 * x * x - 0.05
    film = 88 + 10 * c.fractal(0.5) + 40 * np.exp(-((x / 0.3) ** 2)) - 45 * np.exp(-(((y + bow) / 0.035) ** 2))
    film += 55 * np.exp(-(((np.abs(y + bow) - 0.3) / 0.26) ** 4)) * (np.abs(x) < 1.5)
    number, tall = max(32, c.objects or 0), 0.23
    for row, side in enumerate((-1, 1)):
        columns = np.linspace(-1, 1, (number + row) // 2) * 0.72 * c.width / 2 / c.unit
        for column in columns:
            half = 0.46 * (columns[1] - columns[0]) * c.rng.uniform(0.92, 1.0)
            outline = c.ellipse(0, 0, 1, 1, 0, 0.03)
            rooted = (outline[:, 1] + 1) / 2  # 0 at the crown, 1 at the tip of the root
            outline = np.sign(outline) * np.abs(outline) ** 0.7 * [half, tall * c.rng.uniform(0.9, 1.05)]
            outline[:, 0] *= 1 - 0.45 * rooted
            outline[:, 1] = side * (outline[:, 1] + tall + 0.02)
            c.label((outline + np.array([column, 0.05 - 0.09 * column**2])).astype(np.float32))
    bone = film + 14 * c.noise(0.03)
    enamel = np.exp(-(((np.abs(y + bow) - 0.07) / 0.09) ** 2))
    film = c.blur(c.paint(bone, 168, spread=8) + 55 * (c.labels > 0) * enamel, 0.012)
    pulp = c.blur(c.labels > 0, 0.035) ** 6 * (np.abs(y + bow) > 0.1)
    return _grey(film - 45 * pulp + 4 * c.white())


def _dermoscopy(c: _Canvas) -> Picture:
    """One pigmented lesion under hairs; then satellites."""
    x, y = c.grid()
    skin = _plain(c, (222, 172, 148))
    skin += (c.fractal(0.7) * 5 + c.noise(0.02) * 2.5).astype(np.float32)
    c.label(c.blob(0, 0, 0.5, 0.42, c.rng.uniform(0, 3), 0.13))
    c.scatter(c.objects_mask(0.03) < 0.01, 0.1, wobble=0.1)
    inside, mottle = c.objects_mask(0.022), c.fractal(0.3)
    network = np.exp(-((c.noise(0.045) / 0.4) ** 2))
    _mix(skin, (205, 130, 105), 0.5 * c.objects_mask(0.09))
    _mix(skin, (142, 88, 60), 0.85 * inside)
    _mix(skin, (84, 46, 34), inside * (0.4 * c.objects_mask(0.12) ** 2 + 0.35 * network + 0.2 * mottle).clip(0, 0.85))
    _mix(skin, (48, 36, 42), inside * c.blur(mottle > 0.9, 0.03) * 0.6)
    starts = [(c.rng.uniform(-1, 1), c.rng.uniform(-1, 1), c.rng.uniform(0, 6.3)) for _ in range(6)]
    hairs = [(c.curve(*start, 1.2, 0.03), 0.01) for start in starts]
    _mix(skin, (45, 30, 25), 0.8 * c.strokes(hairs, soft=0.004))
    skin *= 1.04 - 0.16 * (x * x + y * y).clip(0, 2.5)
    return _rgb(c, skin, 4)


def _endoscopy(c: _Canvas) -> Picture:
    """A polyp on wet mucosa beside the dark lumen; then smaller polyps."""
    x, y = c.grid()
    turn = c.rng.uniform(0, 2 * np.pi)
    lx, ly = 0.4 * math.cos(turn), 0.4 * math.sin(turn)
    away = np.hypot(x - lx, y - ly)
    mucosa = _plain(c, (205, 112, 88))
    mucosa += (c.fractal(0.5) * 9).astype(np.float32)
    folds = np.exp(-((((away * 1.9 + 0.3 * c.noise(0.7)) % 1 - 0.5) / 0.13) ** 2))
    _mix(mucosa, (120, 45, 36), 0.45 * folds)
    starts = [(c.rng.uniform(-1, 1), c.rng.uniform(-1, 1), c.rng.uniform(0, 6.3)) for _ in range(6)]
    vessels = [line for start in starts for line in c.tree(*start, 0.4, 0.02)]
    _mix(mucosa, (150, 40, 42), 0.45 * c.strokes(vessels, soft=0.006))
    _mix(mucosa, (28, 8, 8), np.exp(-((away / 0.3) ** 2)))
    c.label(c.blob(-0.9 * lx, -0.9 * ly, 0.3, 0.25, c.rng.uniform(0, 3), 0.07))
    free = (away > 0.45) & (np.hypot(x, y) < 0.9) & (c.objects_mask(0.03) < 0.01)
    c.scatter(free, 0.12)
    inside, dome = c.objects_mask(0.012), c.objects_mask(0.09)
    _mix(mucosa, (90, 28, 25), 0.55 * (c.objects_mask(0.05) - inside).clip(0, 1))
    _mix(mucosa, (212, 96, 82), 0.8 * inside)
    mucosa += inside * (75 * (dome - 0.7) + 7 * c.fractal(0.07))
    wet = c.noise(0.10, 0.05) + 0.8 * c.noise(0.4) + 1.2 * (dome > 0.85) > 3.3
    _mix(mucosa, (255, 250, 245), (1.1 * c.blur(wet, 0.006)).clip(0, 0.95))
    mucosa *= (1.12 - 0.3 * (x * x + y * y)).clip(0.15, None)
    mucosa *= c.mask(c.ellipse(0, 0, c.width / 2 / c.unit * 1.1, c.height / 2 / c.unit * 1.1), soft=0.01)
    return _rgb(c, mucosa, 4)


def _fundus(c: _Canvas) -> Picture:
    """Retina: optic disc with its cup inside; then exudates."""
    x, y = c.grid()
    side = float(c.rng.choice([-1, 1]))
    retina = _plain(c, (188, 88, 40))
    retina += (c.fractal(0.5) * 6).astype(np.float32)
    _mix(retina, (110, 38, 18), 0.6 * np.exp(-((np.hypot(x + 0.22 * side, y - 0.04) / 0.16) ** 2)))
    dx = 0.45 * side
    c.label(c.blob(dx, 0, 0.15, 0.165, wobble=0.03))
    c.label(c.blob(dx, 0.0, 0.068, 0.075, wobble=0.04))
    c.scatter((np.hypot(x, y) < 0.85) & (np.hypot(x - dx, y) > 0.26), 0.05, wobble=0.15)
    _mix(retina, (225, 130, 75), 0.5 * np.exp(-((np.hypot(x - dx, y) / 0.25) ** 2)))
    _mix(retina, (238, 186, 110), 0.9 * c.blur(c.labels == 1, 0.012))
    _mix(retina, (250, 228, 165), 0.9 * c.blur(c.labels == 2, 0.014))
    _mix(retina, (240, 210, 110), 0.85 * c.blur(c.labels > 2, 0.01))
    out = np.pi if side > 0 else 0.0
    angles = [out + s * a for s in (-1, 1) for a in (0.8, 1.3, 2.3)]
    vessels = [line for a in angles for line in c.tree(dx, c.rng.normal(0, 0.02), a, 0.5, c.rng.uniform(0.014, 0.024))]
    _mix(retina, (120, 26, 18), c.strokes(vessels, soft=0.004) * (0.7 - 0.3 * c.objects_mask(0.01)))
    retina *= (1.1 - 0.35 * (x * x + y * y)).clip(0, None) * c.mask(c.ellipse(0, 0, 0.96, 0.96), soft=0.008)
    return _rgb(c, retina, 3)


def _microscopy(c: _Canvas) -> Picture:
    """Stained tissue (haematoxylin and eosin) full of nuclei."""
    tissue = _plain(c, (226, 160, 196))
    _mix(tissue, (200, 110, 165), (0.35 + 0.3 * c.fractal(0.4)).clip(0, 1))
    number = c.objects or int(np.clip(c.labels.size / 1600, 8, 400))
    size = 0.5 * float(np.sqrt(c.labels.size / number)) / c.unit
    gaps = c.blur(c.noise(4 * size) > 1.3, 0.1 * size)
    _mix(tissue, (244, 238, 244), 0.9 * gaps)
    _mix(tissue, (168, 70, 130), 0.5 * np.exp(-((c.noise(3 * size, size) / 0.12) ** 2)) * (1 - gaps))
    c.scatter(gaps < 0.4, 0.62 * size, number, 0.05)
    stain = c.blur(c.paint(np.zeros_like(gaps), 0.78, spread=0.16), 0.035 * size)
    chromatin = c.noise(0.25 * size)
    _mix(tissue, (84, 46, 130), (stain * (1 + 0.16 * chromatin)).clip(0, 1))
    rim = cv2.morphologyEx(c.labels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    _mix(tissue, (62, 30, 105), 0.5 * c.blur(rim, 0.05 * size))
    return _rgb(c, tissue, 5)


_OCT_LAYERS = (
    *((-9, 14), (-0.001, 14), (0, 175), (0.10, 165), (0.14, 120), (0.32, 115), (0.36, 60), (0.46, 62)),
    *((0.50, 110), (0.60, 108), (0.64, 48), (0.82, 55), (0.84, 130), (0.87, 70), (0.90, 70), (0.93, 215)),
    *((1.0, 220), (1.04, 120), (1.9, 40), (9, 25)),
)
"""Relative depth and grey value, from the vitreous to the choroid."""


def _oct(c: _Canvas) -> Picture:
    """Retinal layers with a foveal pit; fluid pockets between them."""
    x, y = c.grid()
    pit = 0.16 * np.exp(-(((x - c.rng.uniform(-0.2, 0.2)) / 0.22) ** 2))
    bow = 0.06 * x * x + c.rng.uniform(-0.1, 0.1) * x + 0.015 * c.noise(0.6)[:1]
    upper, lower = -0.38 + bow + pit, 0.30 + bow
    place = (y - upper) / (lower - upper)  # 0 at the inner surface, 1 at the pigment epithelium
    scan = np.interp(place.ravel(), *np.array(_OCT_LAYERS).T).reshape(c.labels.shape)
    scan *= 1 + np.where(place > 1.02, 0.3, 0.07) * c.noise(0.12, 0.06)
    c.scatter((place > 0.14) & (place < 0.8), 0.17, natural=2, wobble=0.09)
    scan = c.blur(c.paint(scan, 26, spread=6), 0.008)
    speckle = np.hypot(c.noise(0.014, 0.008), c.noise(0.014, 0.008)) / np.float32(1.4)
    return _grey(scan * (0.45 + 0.55 * speckle) + 5 * np.abs(c.white()))


def _mammography(c: _Canvas) -> Picture:
    """A breast from the side with one mass; then further masses."""
    x, y = c.grid()
    side = float(c.rng.choice([-1, 1]))
    edge = -side * c.width / 2 / c.unit
    breast = c.blob(edge, 0.02, 1.35, 0.93, wobble=0.015)
    inside, core = c.mask(breast, soft=0.015), c.blur(c.mask(breast), 0.14)
    dense = np.exp(-((((x - edge) * side - 0.65) / 0.4) ** 2) - (y / 0.5) ** 2)
    film = inside * (420 + 500 * core + core * (300 + 450 * dense) * (0.4 + 0.45 * c.fractal(0.4)).clip(0, 1.5))
    starts = [(edge + side * 0.1, c.rng.uniform(-0.5, 0.5), np.pi * (side < 0)) for _ in range(22)]
    film += 150 * c.strokes([(c.curve(*start, 1.1, 0.04), 0.012) for start in starts], soft=0.008) * core
    corner = np.array([[edge, -1.2], [edge + side * 0.62, -1.2], [edge, 0.35]], dtype=np.float32)
    film += 650 * c.mask(corner, soft=0.05) * inside
    c.scatter((core > 0.8) & (c.mask(corner, soft=0.02) < 0.02), 0.17, natural=1, wobble=0.09)
    film += (900 + 110 * c.fractal(0.1)) * c.objects_mask(0.025) * inside
    return _grey(film + 45 * c.white() * inside, np.uint16, 0, 4095)


_PAINTERS: dict[Modality, Callable[[_Canvas], Picture]] = {
    Modality.CT: _ct,
    Modality.MR: _mr,
    Modality.PET: _pet,
    Modality.US: _us,
    Modality.XRAY: _xray,
    Modality.DERMOSCOPY: _dermoscopy,
    Modality.ENDOSCOPY: _endoscopy,
    Modality.FUNDUS: _fundus,
    Modality.MICROSCOPY: _microscopy,
    Modality.OCT: _oct,
    Modality.MAMMOGRAPHY: _mammography,
}
_Body = Callable[[_Canvas], tuple[FloatArray, BoolArray]]
_Finish = Callable[[_Canvas, FloatArray], Picture]
_VOLUMES: dict[Modality, tuple[_Body, _Finish, float, npt.DTypeLike]] = {
    Modality.CT: (_ct_torso, _ct_finish, 100, np.int16),
    Modality.MR: (_mr_head, _mr_finish, 870, np.uint16),
    Modality.PET: (_pet_body, _pet_finish, 7, np.float32),
}
_FIELD_MM = dict(zip(_PAINTERS, (400, 240, 500, 80, 400, 20, 60, 18, 0.12, 6, 240), strict=True))
"""What the image's shorter side spans."""
_SLICE_MM = {Modality.CT: 2.5, Modality.MR: 1.5, Modality.PET: 4.0}
