"""Augmentation: one affine warp for image and labels, then intensity, then box jitter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.modality import Modality
from medsam_edge_train.data.contrast import change_contrast

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]

CROP_FILL = 0.85  # largest fraction of a crop's side that the object may span
FAR = 0.7  # below this zoom an image is blurred before it shrinks, or fine texture becomes noise
MINIMUM_BOX_PX = 2.0  # smallest shorter side of a careless box, in pixels


@dataclass(frozen=True)
class Augmentation:
    """What is varied, and how much.

    Attributes:
        plain: share of images that are only flipped, so that the network also sees images as at inference.
        zoom: range of the extra scale, log-uniform.
        rotation_degrees: largest rotation in either direction.
        stretch: largest relative change of the aspect ratio.
        shift: largest shift, as a share of the square's side.
        jitter_px: largest move of a box edge in either direction, in pixels of a 256 frame; at most a tenth of the
            box's side.
        loose: share of boxes that are too large instead: each edge moves outward by up to half the box's side. Boxes
            drawn in a hurry are like this, and boxes of a volume on all slices but its middle.
        careless: share of boxes whose edges move by up to `jitter_px`, even if the box is small.
        color_p: probability of each color change: gamma; brightness and contrast; balance of the channels.
        noise_p: probability of noise; that of blur is half of it.
        contrast: share of images whose contrast also changes strongly, see `change_contrast`.
    """

    plain: float = 0.3
    zoom: tuple[float, float] = (0.75, 1.6)
    rotation_degrees: float = 25.0
    stretch: float = 0.15
    shift: float = 0.12
    jitter_px: float = 5.0
    loose: float = 0.0
    careless: float = 0.0
    color_p: float = 0.4
    noise_p: float = 0.4
    contrast: float = 0.0

    def warp(self, image: Pixels, labels: Labels, size: int, rng: np.random.Generator) -> tuple[Pixels, Labels]:
        """Put image and labels into the network's square: flipped, and unless plain also moved by a random affine map.

        Without that map the image lies where inference puts it: at the top left, its longest side filling the square.

        Args:
            image: (H, W) or (H, W, 3) uint8.
            labels: (H, W), or (H, W, 2) of two slices.
            size: side of the square in pixels.

        Returns:
            Image (size, size) or (size, size, 3) uint8, and labels (size, size) or (size, size, 2).
        """
        height, width = labels.shape[:2]
        scale = size / max(height, width)
        plain = rng.random() < self.plain
        pose = self._pose(plain, rng)
        image, linear = _soften(image, pose, scale), scale * pose
        centre = np.array([width, height]) / 2
        shift = 0.0 if plain else rng.uniform(-self.shift, self.shift, 2) * size
        return _resample(image, labels, linear, centre, scale * centre + shift, size)

    def crop(
        self, image: Pixels, labels: Labels, size: int, frame: int, rng: np.random.Generator
    ) -> tuple[Pixels, Labels]:
        """A square crop around one random object, at the scale that `warp` gives in a square of side `frame`.

        The whole object is in the crop; if it would span more than `CROP_FILL` of the side it is shown smaller.
        There must be an object. Shapes are those of `warp`.
        """
        planes = [labels[..., 0], labels[..., 1]] if labels.ndim == 3 else [labels]
        first = next(plane for plane in planes if plane.any())
        x0, y0, x1, y1 = rng.choice(boxes_from_masks(first)).astype(np.float64)
        side = max(x1 - x0, y1 - y0)
        pose = self._pose(rng.random() < self.plain, rng)
        whole = frame / max(labels.shape[:2])  # the scale at which the image fills the frame
        image, linear = _soften(image, pose, whole), whole * pose
        scale = np.sqrt(abs(np.linalg.det(linear)))
        fitted = min(scale, CROP_FILL * size / side)
        room = (size - side * fitted) / 2
        target = size / 2 + rng.uniform(-room, room, 2)
        return _resample(image, labels, linear * fitted / scale, np.array([x0 + x1, y0 + y1]) / 2, target, size)

    def _pose(self, plain: bool, rng: np.random.Generator) -> Matrix:
        """(2, 2) map of x, y: random flips, and unless plain also zoom, stretch and rotation."""
        flips = np.diag(np.where(rng.random(2) < 0.5, -1.0, 1.0))
        if plain:
            return flips
        zoom = np.exp(rng.uniform(*np.log(self.zoom)))
        aspect = np.exp(rng.uniform(-self.stretch, self.stretch) / 2)
        angle = np.deg2rad(rng.uniform(-self.rotation_degrees, self.rotation_degrees))
        cos, sin = np.cos(angle), np.sin(angle)
        pose: Matrix = np.array([[cos, -sin], [sin, cos]]) @ np.diag([zoom * aspect, zoom / aspect]) @ flips
        return pose

    def intensity(self, image: Pixels, modality: Modality, rng: np.random.Generator) -> FloatArray:
        """(S, S) or (S, S, 3) uint8 → (3, S, S) float32 in [0, 1]: min-max as at inference, then random changes."""
        x: npt.NDArray[Any] = image.astype(np.float32)
        x = (x - x.min()) / max(float(x.max() - x.min()), 1e-8)
        if x.ndim == 2:
            x = x[..., None]
        if self.contrast and rng.random() < self.contrast:
            x = change_contrast(x, rng)
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

    def jitter(self, boxes: FloatArray, size: int, frame: int, rng: np.random.Generator) -> FloatArray:
        """Move each edge of (N, 4) boxes x0, y0, x1, y1, in pixels of a square of side `size` at the scale of `frame`.

        A third of the boxes stay tight and the others move a little; then shares of all boxes become loose or careless.
        """
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        far = self.jitter_px * frame / 256
        little = np.minimum(far, 0.1 * sides) * (rng.random((len(boxes), 1)) >= 1 / 3)
        moves = little * rng.uniform(-1, 1, boxes.shape)
        if self.loose:
            outward = 0.5 * sides * rng.random(boxes.shape) * (-1, -1, 1, 1)
            moves = np.where(rng.random((len(boxes), 1)) < self.loose, outward, moves)
        if self.careless:
            off = far * rng.uniform(-1, 1, boxes.shape)
            moved = (boxes + off).clip(0, size)
            left = (moved[:, 2:] - moved[:, :2]).min(axis=1, keepdims=True)  # shorter side of the box
            chosen = (rng.random((len(boxes), 1)) < self.careless) & (left >= MINIMUM_BOX_PX)
            moves = np.where(chosen, off, moves)
        return (boxes + moves).clip(0, size).astype(np.float32)


AUGMENTATIONS = {
    "full": Augmentation(),
    "full+loose": Augmentation(loose=0.3),
    "full+careless": Augmentation(careless=0.35),
    "flips": Augmentation(plain=1.0, color_p=0.0, noise_p=0.0),
    "flips+color": Augmentation(plain=1.0, color_p=0.5, noise_p=0.0),
}
"""`flips` and `flips+color` are as in the papers; all jitter boxes."""


def _soften(image: Pixels, pose: Matrix, scale: float) -> Pixels:
    """The image, blurred as far as it will shrink if its pose (2, 2) is a zoom below `FAR`."""
    zoom = np.sqrt(abs(np.linalg.det(pose)))
    if zoom >= FAR or zoom * scale >= 1:
        return image
    return cv2.GaussianBlur(image, (0, 0), 0.5 / (zoom * scale)).astype(np.uint8, copy=False)


def _resample(
    image: Pixels, labels: Labels, linear: Matrix, source: Matrix, target: Matrix, size: int
) -> tuple[Pixels, Labels]:
    """Map image and labels by `linear` (2, 2), with the point `source` going to `target`.

    Points are x, y in pixels; pixel edges are at whole numbers.
    """
    # cv2 has pixel centres at whole numbers
    offset = target - 0.5 - linear @ (source - 0.5)
    matrix = np.column_stack([linear, offset])
    # the border takes the darkest value, so that it does not change the min-max
    darkest = (float(image.min()),) * 3
    warped = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=darkest)
    moved_labels = cv2.warpAffine(labels.astype(np.uint16), matrix, (size, size), flags=cv2.INTER_NEAREST)
    return warped.astype(np.uint8, copy=False), moved_labels.astype(np.int32)
