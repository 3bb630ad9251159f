"""Augmentation: one affine warp for image and labels, then intensity, then box jitter."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """What is varied, and how much.

    Attributes:
        plain: share of images that are only flipped, so that the network sees what inference shows it.
        zoom: range of the extra scale, log-uniform.
        rotation_degrees: largest rotation either way.
        stretch: largest relative change of the aspect ratio.
        shift: largest shift, as a share of the square.
        jitter_px: largest move of a box edge either way, in pixels of a 256 frame (and a tenth of the box's side).
        loose: share of the boxes that are too large instead: each edge out by up to half the box's side. So are boxes
            drawn in a hurry, and those of a volume on all slices but its middle.
        color_p: probability of each change of color: gamma, brightness and contrast, the balance of the channels.
        noise_p: probability of noise, and half of it that of blur.
    """

    plain: float = 0.3
    zoom: tuple[float, float] = (0.75, 1.6)
    rotation_degrees: float = 25.0
    stretch: float = 0.15
    shift: float = 0.12
    jitter_px: float = 5.0
    loose: float = 0.0
    color_p: float = 0.4
    noise_p: float = 0.4

    def warp(self, image: Pixels, labels: Labels, size: int, rng: np.random.Generator) -> tuple[Pixels, Labels]:
        """Image and labels in the network's square, flipped and, mostly, rotated, zoomed, stretched and shifted.

        Unmoved, the image lies where inference puts it: longest side filling the square, at the top left.
        """
        height, width = labels.shape
        scale = size / max(height, width)
        flip_x, flip_y = rng.random(2) < 0.5
        matrix = np.diag([scale, scale, 1.0])
        matrix = _about(-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0, 0.0, width * scale, height * scale) @ matrix
        if rng.random() >= self.plain:
            zoom = np.exp(rng.uniform(*np.log(self.zoom)))
            aspect = np.exp(rng.uniform(-self.stretch, self.stretch) / 2)
            angle = np.deg2rad(rng.uniform(-self.rotation_degrees, self.rotation_degrees))
            moved = _about(zoom * aspect, zoom / aspect, angle, width * scale, height * scale)
            moved[:2, 2] += rng.uniform(-self.shift, self.shift, 2) * size
            matrix = moved @ matrix
        # cv2 maps pixel centres; ours is a map of pixel edges: shift by half a pixel on either side
        matrix = _shift(-0.5) @ matrix @ _shift(0.5)
        # the outside is the image's darkest value, so that the min-max after it is that of the image alone
        darkest = (float(image.min()),) * 3
        warped = cv2.warpAffine(image, matrix[:2], (size, size), flags=cv2.INTER_LINEAR, borderValue=darkest)
        moved_labels = cv2.warpAffine(labels.astype(np.uint16), matrix[:2], (size, size), flags=cv2.INTER_NEAREST)
        return warped.astype(np.uint8, copy=False), moved_labels.astype(np.int32)

    def intensity(self, image: Pixels, modality: Modality, rng: np.random.Generator) -> FloatArray:
        """(S, S) or (S, S, 3) uint8 → (3, S, S) float32 in [0, 1], min-max as inference does, after random changes."""
        x = image.astype(np.float32)
        x = (x - x.min()) / max(float(x.max() - x.min()), 1e-8)
        if x.ndim == 2:
            x = x[..., None]
        if rng.random() < self.color_p:
            x = x ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))  # gamma
        if rng.random() < self.color_p:
            x = (x - 0.5) * rng.uniform(0.7, 1.3) + 0.5 + rng.uniform(-0.15, 0.15)
        if modality.is_color and rng.random() < self.color_p:
            x = x * rng.uniform(0.8, 1.2, 3)
        if rng.random() < self.noise_p / 2:
            x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.2)).reshape(x.shape)
        if rng.random() < self.noise_p:
            noise = rng.standard_normal(x.shape, dtype=np.float32) * rng.uniform(0.0, 0.06)
            x = x * (1 + noise) if modality is Modality.US else x + noise
        x = x.clip(0, 1).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(x, (*x.shape[:2], 3)).transpose(2, 0, 1))

    def jitter(self, boxes: FloatArray, size: int, rng: np.random.Generator) -> FloatArray:
        """Move each edge of each (N, 4) box a little; a third of the boxes stay tight, and some become loose."""
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        reach = np.minimum(self.jitter_px * size / 256, 0.1 * sides)
        reach = reach * (rng.random((len(boxes), 1)) >= 1 / 3)
        moves = reach * rng.uniform(-1, 1, boxes.shape)
        if self.loose:
            outward = 0.5 * sides * rng.random(boxes.shape) * (-1, -1, 1, 1)
            moves = np.where(rng.random((len(boxes), 1)) < self.loose, outward, moves)
        return (boxes + moves).clip(0, size).astype(np.float32)


AUGMENTATIONS = {
    "full": Augmentation(),
    "full+loose": Augmentation(loose=0.3),
    "flips": Augmentation(plain=1.0, color_p=0.0, noise_p=0.0),
    "flips+color": Augmentation(plain=1.0, color_p=0.5, noise_p=0.0),
}
"""`flips` and `flips+color` are the papers'; boxes are jittered in all, and some of them loose in `full+loose`."""


def _shift(offset: float) -> npt.NDArray[np.float64]:
    return np.array([[1, 0, offset], [0, 1, offset], [0, 0, 1]], dtype=np.float64)


def _about(scale_x: float, scale_y: float, angle: float, width: float, height: float) -> npt.NDArray[np.float64]:
    """Scale, then rotate, about the centre of a width × height rectangle."""
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([scale_x, scale_y])
    centre = np.array([width / 2, height / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - linear @ centre
    return matrix
