"""One painter per modality, and the tables that name them. Lengths as in `phantom/__init__.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality
from medsam_edge.phantom.canvas import BoolArray, Canvas, FloatArray

Picture = npt.NDArray[Any]
Color = tuple[float, float, float]


def _grey(plane: npt.NDArray[Any], dtype: npt.DTypeLike = np.uint8, low: float = 0, high: float = 255) -> Picture:
    return np.asarray(np.rint(plane.clip(low, high)), dtype=dtype)


def _plain(canvas: Canvas, color: Color) -> FloatArray:
    """(3, H, W) of one colour; planes, because colours are mixed plane by plane."""
    return np.stack([np.full(canvas.labels.shape, tone, dtype=np.float32) for tone in color])


def _mix(planes: FloatArray, color: Color, amount: npt.NDArray[Any]) -> None:
    """Move the (3, H, W) planes towards a colour by `amount`, 0..1, in place."""
    for plane, tone in zip(planes, color, strict=True):
        plane += amount * (np.float32(tone) - plane)


def _rgb(canvas: Canvas, planes: FloatArray, sigma: float) -> Picture:
    """(3, H, W) float → (H, W, 3) uint8 with sensor noise."""
    planes += canvas.white() * np.float32(sigma)
    return np.ascontiguousarray(_grey(planes).transpose(1, 2, 0))  # (H, W, 3)


def _ct_body(c: Canvas) -> tuple[FloatArray, BoolArray]:
    """(H, W) HU of a torso without its organs, and where organs may lie."""
    cavity = c.mask(c.blob(0, -0.04, 0.77, 0.53)) > 0
    hu = np.full(c.labels.shape, -1000, dtype=np.float32)
    hu[c.mask(c.blob(0, 0, 0.93, 0.71, wobble=0.02)) > 0] = -100
    hu[c.mask(c.ellipse(0, -0.01, 0.84, 0.61), c.blob(-0.2, 0.5, 0.2, 0.12), c.blob(0.2, 0.5, 0.2, 0.12)) > 0] = 55
    hu[cavity] = -95
    ribs = [c.blob(0.8 * np.cos(t), 0.57 * np.sin(t), 0.06, 0.022, t + np.pi / 2) for t in np.linspace(-2.8, 3.4, 12)]
    hu[c.mask(*ribs, c.blob(0, 0.6, 0.04, 0.08), c.blob(0, 0.5, 0.16, 0.03)) > 0] = 480
    return hu, cavity


def _ct_finish(c: Canvas, hu: FloatArray) -> Picture:
    return _grey(c.blur(hu, 0.007) + c.noise(0.012) * 13, np.int16, -1024, 3071)


def _ct_torso(c: Canvas) -> tuple[FloatArray, BoolArray]:
    """The body of a volume, with a spine and bowel fat that a slice draws for itself."""
    hu, cavity = _ct_body(c)
    spine = c.mask(c.blob(0, 0.42, 0.16, 0.13)) > 0
    hu[cavity] += 30 * (c.fractal(0.3)[cavity] > 0.3)
    hu[spine] = 420
    return hu, cavity & (c.blur(spine, 0.02) < 0.02)


def _ct(c: Canvas) -> Picture:
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


def _mr_head(c: Canvas) -> tuple[FloatArray, BoolArray]:
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


def _mr_finish(c: Canvas, signal: FloatArray) -> Picture:
    """Coil shading and Rician noise: the magnitude of a signal with noise in both channels."""
    x, y = c.grid()
    shaded = c.blur(signal, 0.008) * (1 + 0.18 * x - 0.15 * y)
    return _grey(np.hypot(shaded + 28 * c.white(), 28 * c.white()), np.uint16, 0, 4095)


def _mr(c: Canvas) -> Picture:
    """Head: a tumour and the two lateral ventricles; then further lesions."""
    signal, brain = _mr_head(c)
    side = c.rng.choice([-1, 1])
    c.label(c.blob(0.36 * side, c.rng.uniform(-0.35, 0.35), 0.13, 0.16, wobble=0.12))
    c.label(c.blob(-0.085, -0.08, 0.055, 0.25, 0.15))
    c.label(c.blob(0.085, -0.08, 0.055, 0.25, -0.15))
    c.scatter(brain & (c.objects_mask(0.01) < 0.05), 0.07)
    signal = c.paint(signal, [810, 110, 110, 830], spread=25)
    return _mr_finish(c, signal + (signal > 300) * c.fractal(0.08) * (18 + 25 * (signal > 700)))


def _pet_body(c: Canvas) -> tuple[FloatArray, BoolArray]:
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


def _pet_finish(c: Canvas, uptake: FloatArray) -> Picture:
    """The scanner's wide point spread and noise that grows with the counts."""
    spread = c.blur(uptake, 0.028)
    counts = c.noise(0.03) * np.sqrt(spread.clip(0.02, None)) * np.float32(0.09)
    return np.asarray((spread + counts).clip(0, None), dtype=np.float32)


def _pet(c: Canvas) -> Picture:
    """Chest: hot spots of various uptake."""
    uptake, region = _pet_body(c)
    c.scatter(region, 0.13, natural=3)
    return _pet_finish(c, c.paint(uptake, 7.5, spread=2))


def _us(c: Canvas) -> Picture:
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


def _xray(c: Canvas) -> Picture:
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


def _teeth(c: Canvas) -> Picture:
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


def _dermoscopy(c: Canvas) -> Picture:
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


def _endoscopy(c: Canvas) -> Picture:
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


def _fundus(c: Canvas) -> Picture:
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


def _microscopy(c: Canvas) -> Picture:
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


def _oct(c: Canvas) -> Picture:
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


def _mammography(c: Canvas) -> Picture:
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


PAINTERS: dict[Modality, Callable[[Canvas], Picture]] = {
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
Body = Callable[[Canvas], tuple[FloatArray, BoolArray]]
Finish = Callable[[Canvas, FloatArray], Picture]
VOLUMES: dict[Modality, tuple[Body, Finish, float, npt.DTypeLike]] = {
    Modality.CT: (_ct_torso, _ct_finish, 100, np.int16),
    Modality.MR: (_mr_head, _mr_finish, 870, np.uint16),
    Modality.PET: (_pet_body, _pet_finish, 7, np.float32),
}
FIELD_MM = dict(zip(PAINTERS, (400, 240, 500, 80, 400, 20, 60, 18, 0.12, 6, 240), strict=True))
"""What the image's shorter side spans."""
SLICE_MM = {Modality.CT: 2.5, Modality.MR: 1.5, Modality.PET: 4.0}
