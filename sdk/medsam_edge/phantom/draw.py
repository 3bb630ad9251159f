"""Draw a synthetic image or volume with its ground truth: a label map, then tissue values, then blur and noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError, InputError, ModalityError
from medsam_edge.geometry import FloatArray
from medsam_edge.modality import Modality
from medsam_edge.phantom import color, grey
from medsam_edge.phantom.canvas import Canvas, Image

MIN_SIDE = 64
"""Shortest side in pixels; in a smaller image the smallest organ has fewer than MIN_PIXELS."""

MIN_DEPTH = 8
"""Fewest slices of a volume."""

MIN_PIXELS = 10
"""Fewest pixels of a labelled object."""

PAINTERS: dict[Modality, tuple[Callable[[Canvas], Image], float]] = {
    Modality.CT: (grey.paint_ct, 400),
    Modality.MR: (grey.paint_mr, 240),
    Modality.PET: (grey.paint_pet, 500),
    Modality.US: (grey.paint_us, 80),
    Modality.XRAY: (grey.paint_xray, 400),
    Modality.DERMOSCOPY: (color.paint_dermoscopy, 20),
    Modality.ENDOSCOPY: (color.paint_endoscopy, 60),
    Modality.FUNDUS: (color.paint_fundus, 18),
    Modality.MICROSCOPY: (color.paint_microscopy, 0.12),
    Modality.OCT: (grey.paint_oct, 6),
    Modality.MAMMOGRAPHY: (grey.paint_mammography, 240),
}
"""What draws an image, and the length of its shorter side in mm."""


@dataclass(frozen=True)
class Phantom:
    """A synthetic image or volume and its ground truth.

    Attributes:
        image: (H, W) grey, (H, W, 3) RGB or (D, H, W), in the modality's own dtype and units (CT int16 in HU).
        labels: uint16, (H, W) or (D, H, W); 0 background, 1..N objects, none missing.
        modality: the imitated modality.
        spacing_mm: pixel or voxel size in the order of the array's axes: (y, x) or (z, y, x).
    """

    image: Image
    labels: npt.NDArray[np.uint16]
    modality: Modality
    spacing_mm: tuple[float, ...]

    @property
    def boxes(self) -> FloatArray:
        """Tight boxes in label order: float32 (N, 4) or (N, 6), as `boxes_from_masks` gives them."""
        return boxes_from_masks(self.labels)


def phantom(
    modality: Modality | str, shape: tuple[int, int] = (256, 256), seed: int = 0, objects: int | None = None
) -> Phantom:
    """Draw one image; the same arguments give the same bits.

    Args:
        modality: one of the eleven, or a name of it.
        shape: (H, W) in pixels, each at least MIN_SIDE. An X-ray at least 1.5 times as wide as high is a dental
            panorama, whose objects are teeth.
        seed: 0 or more; another seed gives another image.
        objects: exact number of labelled objects; None for the modality's natural number. With fewer objects than
            organs the later organs have no label; more objects add lesions, nodules, nuclei and the like.

    Raises:
        ModalityError: the modality is unknown or None.
        ImageError: the shape is not two whole numbers of at least MIN_SIDE.
        InputError: `objects` is below 1 or more than fit, or the seed is negative.
    """
    kind = _modality(modality)
    _check(shape, (MIN_SIDE, MIN_SIDE), seed, objects)
    canvas, (painter, side_mm) = Canvas(shape, kind, seed, objects), PAINTERS[kind]
    image = painter(canvas)
    labels, number = canvas.labels, objects or canvas.count
    labels[labels > number] = 0
    if np.bincount(labels.ravel(), minlength=number + 1)[1:].min() < MIN_PIXELS:
        raise InputError(f"objects: {number} {kind} objects do not fit a {shape[0]}x{shape[1]} image")
    return Phantom(image, labels, kind, (side_mm / min(shape),) * 2)


def phantom_volume(modality: Modality | str, shape: tuple[int, int, int], seed: int = 0, objects: int = 1) -> Phantom:
    """Draw ellipsoids in a body that changes smoothly along z, slice by slice in little more memory than the result.

    Args:
        modality: CT (int16, HU), MR (uint16) or PET (float32, SUV).
        shape: (D, H, W) in voxels, D at least MIN_DEPTH, H and W at least MIN_SIDE.
        seed: 0 or more; another seed gives another volume.
        objects: exact number of objects; the first one spans nearly all slices.

    Raises:
        ModalityError: the modality is unknown or None.
        ImageError: the shape is not three whole numbers of at least these sizes.
        InputError: the modality has no volumes, `objects` is below 1 or more than fit, or the seed is negative.
    """
    kind = _modality(modality)
    if kind not in grey.VOLUMES:
        raise InputError(f"modality: expected one with volumes ({', '.join(map(str, grey.VOLUMES))}), got {kind}")
    _check(shape, (MIN_DEPTH, MIN_SIDE, MIN_SIDE), seed, objects)
    depth, height, width = shape
    body, finish, tone, dtype, slice_mm = grey.VOLUMES[kind]
    canvas = Canvas((height, width), kind, seed, objects)
    base, region = body(canvas)
    solids = canvas.places(region, objects, 0.3)
    half = canvas.rng.uniform(0.15, 0.4, objects) * depth
    half[0] = 0.48 * depth
    middle = np.floor(canvas.rng.uniform(half, depth - half))  # a slice, so that every ellipsoid reaches one
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
        shrunk = canvas.scaled(base, 1 - 0.04 * (2 * z / depth - 1) ** 2)
        image[z] = finish(canvas, canvas.paint(shrunk, tones))
    return Phantom(image, labels, kind, (slice_mm, *(PAINTERS[kind][1] / min(height, width),) * 2))


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
