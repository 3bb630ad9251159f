"""CT, MR and PET: cross-sections of a body, drawn as one slice or slice by slice as a volume."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality
from medsam_edge.phantom.canvas import BoolArray, Canvas, FloatArray, Image, quantized


def _ct_body(c: Canvas) -> tuple[FloatArray, BoolArray]:
    """Return HU of a torso without organs, (H, W), and where organs may lie."""
    cavity = c.mask(c.blob(0, -0.04, 0.77, 0.53)) > 0
    hu = np.full(c.labels.shape, -1000, dtype=np.float32)
    hu[c.mask(c.blob(0, 0, 0.93, 0.71, wobble=0.02)) > 0] = -100
    hu[c.mask(c.ellipse(0, -0.01, 0.84, 0.61), c.blob(-0.2, 0.5, 0.2, 0.12), c.blob(0.2, 0.5, 0.2, 0.12)) > 0] = 55
    hu[cavity] = -95
    ribs = [c.blob(0.8 * np.cos(t), 0.57 * np.sin(t), 0.06, 0.022, t + np.pi / 2) for t in np.linspace(-2.8, 3.4, 12)]
    hu[c.mask(*ribs, c.blob(0, 0.6, 0.04, 0.08), c.blob(0, 0.5, 0.16, 0.03)) > 0] = 480
    return hu, cavity


def _ct_finish(c: Canvas, hu: FloatArray) -> Image:
    return quantized(c.blur(hu, 0.007) + c.noise(0.012) * 13, np.int16, -1024, 3071)


def _ct_torso(c: Canvas) -> tuple[FloatArray, BoolArray]:
    """Return the torso of a volume, with spine and bowel fat, and where objects may lie."""
    hu, cavity = _ct_body(c)
    spine = c.mask(c.blob(0, 0.42, 0.16, 0.13)) > 0
    hu[cavity] += 30 * (c.fractal(0.3)[cavity] > 0.3)
    hu[spine] = 420
    return hu, cavity & (c.blur(spine, 0.02) < 0.02)


def paint_ct(c: Canvas) -> Image:
    """Paint the upper abdomen: liver, spleen, two kidneys, vertebra, aorta; then lesions of liver and spleen."""
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


def _mr_head(c: Canvas) -> tuple[FloatArray, BoolArray]:
    """Return the signal of an axial T1-like head, (H, W), and where lesions may lie."""
    signal = 780 * c.mask(c.ellipse(0, 0, 0.74, 0.92)) - 700 * c.mask(c.ellipse(0, 0, 0.69, 0.87))
    brain = c.mask(c.blob(0, 0, 0.63, 0.80, wobble=0.015)) > 0
    depth = cv2.distanceTransform(brain.astype(np.uint8), cv2.DIST_L2, 3) / c.unit
    folds = np.abs(c.noise(0.11))
    tissue = np.where((depth < 0.05) | ((folds < 0.55) & (depth < 0.27)), 420, 640)
    tissue[(folds < 0.13) & (depth < 0.22)] = 170
    tissue[np.broadcast_to(np.abs(c.grid()[0]) < 0.012, tissue.shape) & (depth < 0.5)] = 150
    tissue[c.mask(c.blob(-0.19, 0.0, 0.06, 0.15, 0.3), c.blob(0.19, 0.0, 0.06, 0.15, -0.3)) > 0] = 500
    return np.where(brain, tissue, signal).astype(np.float32), brain & (depth > 0.03)


def _mr_finish(c: Canvas, signal: FloatArray) -> Image:
    """Add coil shading and Rician noise: the magnitude of a signal with noise in both channels."""
    x, y = c.grid()
    shaded = c.blur(signal, 0.008) * (1 + 0.18 * x - 0.15 * y)
    return quantized(np.hypot(shaded + 28 * c.white(), 28 * c.white()), np.uint16, 0, 4095)


def paint_mr(c: Canvas) -> Image:
    """Paint a head: a tumour and the two lateral ventricles; then further lesions."""
    signal, brain = _mr_head(c)
    side = c.rng.choice([-1, 1])
    c.label(c.blob(0.36 * side, c.rng.uniform(-0.35, 0.35), 0.13, 0.16, wobble=0.12))
    c.label(c.blob(-0.085, -0.08, 0.055, 0.25, 0.15))
    c.label(c.blob(0.085, -0.08, 0.055, 0.25, -0.15))
    c.scatter(brain & (c.objects_mask(0.01) < 0.05), 0.07)
    signal = c.paint(signal, [810, 110, 110, 830], spread=25)
    return _mr_finish(c, signal + (signal > 300) * c.fractal(0.08) * (18 + 25 * (signal > 700)))


def _pet_body(c: Canvas) -> tuple[FloatArray, BoolArray]:
    """Return SUV of a chest with a warm heart, (H, W), and where hot spots may lie."""
    body = c.blob(0, 0, 0.92, 0.66, wobble=0.02)
    inner = c.mask(c.ellipse(0, 0, 0.84, 0.58)) > 0
    uptake = 0.9 * c.mask(body) + 0.3 * c.mask(body) * c.noise(0.3) * 0.5
    uptake[c.mask(c.blob(-0.43, -0.05, 0.28, 0.40), c.blob(0.45, -0.05, 0.26, 0.38)) > 0] = 0.4
    uptake[c.mask(c.blob(0, 0.42, 0.11, 0.10), c.blob(0, -0.2, 0.12, 0.16)) > 0] = 1.7
    heart = c.mask(c.ellipse(0.2, -0.1, 0.2, 0.16, 0.6)) > 0
    uptake[heart] = 3.2
    uptake[c.mask(c.ellipse(0.23, -0.08, 0.11, 0.08, 0.6)) > 0] = 1.5
    return uptake, inner & ~heart


def _pet_finish(c: Canvas, uptake: FloatArray) -> Image:
    """Add the scanner's wide point spread, and noise that grows with the counts."""
    spread = c.blur(uptake, 0.028)
    counts = c.noise(0.03) * np.sqrt(spread.clip(0.02, None)) * np.float32(0.09)
    return np.asarray((spread + counts).clip(0, None), dtype=np.float32)


def paint_pet(c: Canvas) -> Image:
    """Paint a chest: hot spots of various uptake."""
    uptake, region = _pet_body(c)
    c.scatter(region, 0.13, natural=3)
    return _pet_finish(c, c.paint(uptake, 7.5, spread=2))


Body = Callable[[Canvas], tuple[FloatArray, BoolArray]]
Finish = Callable[[Canvas, FloatArray], Image]
VOLUMES: dict[Modality, tuple[Body, Finish, float, npt.DTypeLike]] = {
    Modality.CT: (_ct_torso, _ct_finish, 100, np.int16),
    Modality.MR: (_mr_head, _mr_finish, 870, np.uint16),
    Modality.PET: (_pet_body, _pet_finish, 7, np.float32),
}
"""What draws the body, what finishes a slice, the objects' value, and the dtype."""
