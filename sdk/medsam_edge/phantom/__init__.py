"""Synthetic medical pictures with known outlines, for demos, tests and benchmarks without anybody's data.

Every picture is drawn the same way: shapes go into a label map, a table turns labels into tissue values, and
the modality's own degradation (blur, bias field, speckle, noise, hairs, highlights) is laid over it. Lengths are
in units of half the image's shorter side, measured from the centre, x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError, InputError, ModalityError
from medsam_edge.geometry import FloatArray
from medsam_edge.modality import Modality
from medsam_edge.phantom.canvas import Canvas
from medsam_edge.phantom.painters import FIELD_MM, PAINTERS, SLICE_MM, VOLUMES, Picture

__all__ = ["Phantom", "phantom", "phantom_volume"]


MIN_SIDE = 64
"""Shortest side, in pixels: below it the smallest organ has no room for MIN_PIXELS."""
MIN_DEPTH = 8
"""Fewest slices of a volume."""
MIN_PIXELS = 10
"""Fewest pixels of a labelled object."""


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
        """Tight boxes in label order, far edges exclusive.

        Returns:
            float32, (N, 4) x0, y0, x1, y1 or (N, 6) x0, y0, z0, x1, y1, z1.
        """
        return boxes_from_masks(self.labels)


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
    canvas = Canvas(shape, kind, seed, objects)
    image = PAINTERS[kind](canvas)
    labels, number = canvas.labels, objects or canvas.count
    labels[labels > number] = 0
    if np.bincount(labels.ravel(), minlength=number + 1)[1:].min() < MIN_PIXELS:
        raise InputError(f"objects: {number} {kind} objects do not fit a {shape[0]}x{shape[1]} image")
    pixel_mm = FIELD_MM[kind] / min(shape)
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
    if kind not in VOLUMES:
        raise InputError(f"modality: expected a volume's, {', '.join(map(str, VOLUMES))}, got {kind}")
    _check(shape, (MIN_DEPTH, MIN_SIDE, MIN_SIDE), seed, objects)
    depth, height, width = shape
    body, finish, tone, dtype = VOLUMES[kind]
    canvas = Canvas((height, width), kind, seed, objects)
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
    pixel_mm = FIELD_MM[kind] / min(height, width)
    return Phantom(image, labels, kind, (SLICE_MM[kind], pixel_mm, pixel_mm))


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
