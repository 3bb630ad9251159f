"""Pasted objects: a random smooth shape, filled with the texture of another picture, whose mask is exact.

They are endless, need no mask, and teach a network to outline what it has never seen.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]

SIZES = (0.04, 0.45)  # range of an object's size (root of its box's area), as a share of the square's side, log-uniform
SMALLEST_PX = 7.0  # smallest size in pixels: smaller objects are not asked for
LONGEST = 0.85  # largest side of an object's box, as a share of the square's side
WAVES = np.arange(2, 6)  # waves along an outline; the first would only move it
ROUGHNESS = 0.3  # largest spread of the waves' amplitudes
ELONGATED = 1 / 3  # share of long shapes
LENGTHS = (1.2, 3.5)  # least and largest ratio of the axes: of the other shapes, and of long ones
SOFT_PX = (0.1, 1.5)  # range of the edge's blur
RING_PX = 5  # width of the ring around an object that counts as its background
DIFFERENCES = (0.08, 0.6)  # range of the difference from the background, as a share of the picture's range, log-uniform
VISIBLE = 0.8  # smallest difference in deviations of the background: a smaller one is lost in its texture
TEXTURE = (0.15, 1.2)  # range of the texture's deviation, as a share of that difference, log-uniform
FLAT = 32  # a picture with fewer grey levels than this lends its object all 256


def paste(image: Pixels, labels: Labels, texture: Pixels, rng: np.random.Generator) -> tuple[Pixels, Labels]:
    """Put one object into an image, in front of whatever is there.

    Args:
        image: (S, S) or (S, S, 3) uint8.
        labels: (S, S).
        texture: (H, W) or (H, W, 3) uint8, the picture that the object's texture is taken from.

    Returns:
        The image of the same shape, and the labels with the largest value + 1 where the object is.
    """
    side = len(labels)
    size = max(SMALLEST_PX, side * _between(SIZES, rng))
    mask = _place(blob(size, LONGEST * side, rng), image, rng)
    filling = _filling(image, mask, _region(texture, image.ndim, side, rng), rng)
    softness = min(float(rng.uniform(*SOFT_PX)), size / 8)
    share = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), softness).reshape(side, side, *[1] * (image.ndim - 2))
    pasted = np.rint(image + share * (filling - image)).astype(np.uint8)
    return pasted, np.where(mask, labels.max() + 1, labels).astype(np.int32)


def blob(size: float, longest: float, rng: np.random.Generator) -> BoolArray:
    """(h, w) mask of a random smooth shape, star-convex, sometimes long.

    Its radius is the exponential of a few random waves over the angle, which cannot reach zero.

    Args:
        size: root of the area of its box, in pixels.
        longest: largest side of its box, in pixels; a longer shape is made smaller.
    """
    amplitudes = rng.uniform(0, ROUGHNESS) * rng.standard_normal(len(WAVES)) / (WAVES - 1)
    phases = rng.uniform(0, 2 * np.pi, len(WAVES))

    def radius(angle: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        waves = (a * np.cos(k * angle + phase) for a, k, phase in zip(amplitudes, WAVES, phases, strict=True))
        return np.asarray(np.exp(sum(waves)), np.float64)

    around, longer = LENGTHS
    ratio = _between((around, longer) if rng.random() < ELONGATED else (1.0, around), rng)
    cos, sin = np.cos(turn := rng.uniform(0, 2 * np.pi)), np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([ratio**0.5, ratio**-0.5])
    circle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    outline = linear @ (radius(circle) * [np.cos(circle), np.sin(circle)])  # (2, 90) x, y
    low, extent = outline.min(axis=1), np.ptp(outline, axis=1)
    scale = min(size / np.sqrt(extent.prod()), longest / extent.max())
    width, height = np.ceil(scale * extent).astype(int)
    y, x = np.indices((height, width))
    u, v = np.tensordot(np.linalg.inv(linear), [(x + 0.5) / scale + low[0], (y + 0.5) / scale + low[1]], 1)  # (2, h, w)
    return np.asarray(np.hypot(u, v) <= radius(np.arctan2(v, u)))


def _place(shape: BoolArray, image: Pixels, rng: np.random.Generator) -> BoolArray:
    """(S, S) mask of the whole shape, around a random pixel that is not the image's darkest: padding is that dark."""
    bright = (image if image.ndim == 2 else image.max(axis=2)) > image.min()
    candidates = np.flatnonzero(bright if bright.any() else ~bright)
    centre = np.divmod(rng.choice(candidates), len(image))
    mask = np.zeros(image.shape[:2], np.bool_)
    top, left = (int(np.clip(c - n // 2, 0, len(image) - n)) for c, n in zip(centre, shape.shape, strict=True))
    mask[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return mask


def _region(texture: Pixels, channels: int, side: int, rng: np.random.Generator) -> FloatArray:
    """A random square of a picture as (S, S) or (S, S, 3), for `channels` 2 or 3: the number of axes."""
    span = max(1, int(rng.uniform(0.25, 1) * min(texture.shape[:2])))
    top, left = (rng.random(2) * (np.array(texture.shape[:2]) - span + 1)).astype(int)
    part = texture[top : top + span, left : left + span]
    if part.ndim != channels:
        part = np.asarray(cv2.cvtColor(part, cv2.COLOR_GRAY2RGB if channels == 3 else cv2.COLOR_RGB2GRAY), np.uint8)
    way = cv2.INTER_AREA if span > side else cv2.INTER_LINEAR
    return cv2.resize(part, (side, side), interpolation=way).astype(np.float32)


def _filling(image: Pixels, mask: BoolArray, texture: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The texture, of an image's shape, its mean and contrast in the mask made to differ from what is around it."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * RING_PX + 1,) * 2, np.uint8)) > 0
    around, inside = image[grown & ~mask].astype(np.float32), texture[mask]  # (N,) or (N, 3)
    low, high = float(image.min()), float(image.max())
    if high - low < FLAT:
        low, high = 0.0, 255.0
    difference = max(_between(DIFFERENCES, rng) * (high - low), VISIBLE * float(around.std(axis=0).mean()))
    level, sign = float(around.mean()), float(rng.choice([-1, 1]))
    if not low <= level + sign * difference <= high:
        sign = 1.0 if level < (low + high) / 2 else -1.0
    tint = 1 + 0.3 * rng.standard_normal(3) if image.ndim == 3 else 1.0
    contrast = difference * _between(TEXTURE, rng) / max(2.0, float(inside.std(axis=0).mean()))
    filling = around.mean(axis=0) + sign * difference * tint + contrast * (texture - inside.mean(axis=0))
    return np.asarray(filling.clip(low, high), np.float32)


def _between(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """A number between two others, log-uniform."""
    return float(np.exp(rng.uniform(*np.log(limits))))
