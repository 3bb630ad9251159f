"""Dermoscopy, endoscopy, fundus and microscopy: colour images."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.phantom.canvas import Canvas, FloatArray, Image, quantized

Color = tuple[float, float, float]


def paint_dermoscopy(c: Canvas) -> Image:
    """Paint one pigmented lesion under hairs; then satellites."""
    x, y = c.grid()
    skin = _plain(c, (222, 172, 148)) + (c.fractal(0.7) * 5 + c.noise(0.02) * 2.5)
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


def paint_endoscopy(c: Canvas) -> Image:
    """Paint a polyp on wet mucosa beside the dark lumen; then smaller polyps."""
    x, y = c.grid()
    turn = c.rng.uniform(0, 2 * np.pi)
    lx, ly = 0.4 * math.cos(turn), 0.4 * math.sin(turn)
    away = np.hypot(x - lx, y - ly)
    mucosa = _plain(c, (205, 112, 88)) + c.fractal(0.5) * 9
    folds = np.exp(-((((away * 1.9 + 0.3 * c.noise(0.7)) % 1 - 0.5) / 0.13) ** 2))
    _mix(mucosa, (120, 45, 36), 0.45 * folds)
    starts = [(c.rng.uniform(-1, 1), c.rng.uniform(-1, 1), c.rng.uniform(0, 6.3)) for _ in range(6)]
    vessels = [line for start in starts for line in c.tree(*start, 0.4, 0.02)]
    _mix(mucosa, (150, 40, 42), 0.45 * c.strokes(vessels, soft=0.006))
    _mix(mucosa, (28, 8, 8), np.exp(-((away / 0.3) ** 2)))
    c.label(c.blob(-0.9 * lx, -0.9 * ly, 0.3, 0.25, c.rng.uniform(0, 3), 0.07))
    c.scatter((away > 0.45) & (np.hypot(x, y) < 0.9) & (c.objects_mask(0.03) < 0.01), 0.12)
    inside, dome = c.objects_mask(0.012), c.objects_mask(0.09)
    _mix(mucosa, (90, 28, 25), 0.55 * (c.objects_mask(0.05) - inside).clip(0, 1))
    _mix(mucosa, (212, 96, 82), 0.8 * inside)
    mucosa += inside * (75 * (dome - 0.7) + 7 * c.fractal(0.07))
    wet = c.noise(0.10, 0.05) + 0.8 * c.noise(0.4) + 1.2 * (dome > 0.85) > 3.3
    _mix(mucosa, (255, 250, 245), (1.1 * c.blur(wet, 0.006)).clip(0, 0.95))
    mucosa *= (1.12 - 0.3 * (x * x + y * y)).clip(0.15, None)
    mucosa *= c.mask(c.ellipse(0, 0, c.width / 2 / c.unit * 1.1, c.height / 2 / c.unit * 1.1), soft=0.01)
    return _rgb(c, mucosa, 4)


def paint_fundus(c: Canvas) -> Image:
    """Paint a retina: the optic disc with its cup inside; then exudates."""
    x, y = c.grid()
    side = float(c.rng.choice([-1, 1]))
    retina = _plain(c, (188, 88, 40)) + c.fractal(0.5) * 6
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


def paint_microscopy(c: Canvas) -> Image:
    """Paint stained tissue (haematoxylin and eosin) full of nuclei."""
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


def _plain(canvas: Canvas, color: Color) -> FloatArray:
    """Return (3, H, W) of one colour; planes, because colours are mixed plane by plane."""
    return np.stack([np.full(canvas.labels.shape, tone, dtype=np.float32) for tone in color])


def _mix(planes: FloatArray, color: Color, amount: npt.NDArray[Any]) -> None:
    """Move the (3, H, W) planes towards a colour by `amount`, 0..1, in place."""
    for plane, tone in zip(planes, color, strict=True):
        plane += amount * (np.float32(tone) - plane)


def _rgb(canvas: Canvas, planes: FloatArray, sigma: float) -> Image:
    """Add sensor noise: (3, H, W) float → (H, W, 3) uint8."""
    planes += canvas.white() * np.float32(sigma)
    return np.ascontiguousarray(quantized(planes).transpose(1, 2, 0))  # (H, W, 3)
