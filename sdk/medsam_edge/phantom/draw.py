"""Draw a synthetic image or volume with its ground truth.

Shapes go into a label map, a table turns labels into tissue values, and the modality's own degradation (blur, bias
field, speckle, noise, hairs, highlights) is applied last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError, InputError, ModalityError
from medsam_edge.geometry import FloatArray
from medsam_edge.modality import Modality
from medsam_edge.phantom.bodies import VOLUMES, paint_ct, paint_mr, paint_pet
from medsam_edge.phantom.canvas import Canvas, Image
from medsam_edge.phantom.color import paint_dermoscopy, paint_endoscopy, paint_fundus, paint_microscopy
from medsam_edge.phantom.grey import paint_mammography, paint_oct, paint_us, paint_xray

MIN_SIDE = 64
"""Shortest side in pixels; in a smaller image the smallest organ has fewer than MIN_PIXELS."""

MIN_DEPTH = 8
"""Fewest slices of a volume."""

MIN_PIXELS = 10
"""Fewest pixels of a labelled object."""

PAINTERS: dict[Modality, Callable[[Canvas], Image]] = {
    Modality.CT: paint_ct,
    Modality.MR: paint_mr,
    Modality.PET: paint_pet,
    Modality.US: paint_us,
    Modality.XRAY: paint_xray,
    Modality.DERMOSCOPY: paint_dermoscopy,
    Modality.ENDOSCOPY: paint_endoscopy,
    Modality.FUNDUS: paint_fundus,
    Modality.MICROSCOPY: paint_microscopy,
    Modality.OCT: paint_oct,
    Modality.MAMMOGRAPHY: paint_mammography,
}

FIELD_MM = dict(zip(PAINTERS, (400, 240, 500, 80, 400, 20, 60, 18, 0.12, 6, 240), strict=True))
"""Length of the image's shorter side."""

SLICE_MM = {Modality.CT: 2.5, Modality.MR: 1.5, Modality.PET: 4.0}
"""Distance between slices."""


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
    canvas = Canvas(shape, kind, seed, objects)
    image = PAINTERS[kind](canvas)
    labels, number = canvas.labels, objects or canvas.count
    labels[labels > number] = 0
    if np.bincount(labels.ravel(), minlength=number + 1)[1:].min() < MIN_PIXELS:
        raise InputError(f"objects: {number} {kind} objects do not fit a {shape[0]}x{shape[1]} image")
    pixel_mm = FIELD_MM[kind] / min(shape)
    return Phantom(image, labels, kind, (pixel_mm, pixel_mm))


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
    if kind not in VOLUMES:
        raise InputError(f"modality: expected one with volumes ({', '.join(map(str, VOLUMES))}), got {kind}")
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
    """Return middle slice and half length of each ellipsoid; every one reaches its middle slice."""
    half = rng.uniform(0.15, 0.4, objects) * depth
    half[0] = 0.48 * depth
    middle = rng.uniform(half, depth - half)
    return np.floor(middle), half
