"""Ultrasound, X-ray, OCT and mammography: grey images."""

from __future__ import annotations

import cv2
import numpy as np

from medsam_edge.phantom.canvas import Canvas, FloatArray, Image, quantized


def paint_us(c: Canvas) -> Image:
    """Paint a dark mass with a shadow behind it, in a fan-shaped or a full field of view."""
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
    return quantized(255 * field * echo.clip(0.03, None) * speckle**0.75)


def paint_xray(c: Canvas) -> Image:
    """Paint a chest: two lungs and the heart; then nodules in the lungs. A wide image becomes a dental panorama."""
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
    return quantized(film + 4 * c.white())


def _ribs() -> list[tuple[FloatArray, float]]:
    """Return the lines of nine pairs of ribs, from the spine outwards and down."""
    turn, arcs = np.linspace(0.15, np.pi * 0.86, 24), []
    for k in range(9):
        reach = (0.62 + 0.15 * np.sin(min(k, 6) / 6 * np.pi / 2)) * (1 - np.cos(turn)) / 1.9
        fall = 0.17 * k - 0.72 + 0.34 * (0.5 - np.cos(turn - 0.9))
        arcs += [(np.stack([side * reach, fall], axis=1).astype(np.float32), 0.05) for side in (-1, 1)]
    return arcs


def _teeth(c: Canvas) -> Image:
    """Paint a dental panorama: two rows of teeth in curved jaws, 32 of them or as many as asked for."""
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
    return quantized(film - 45 * pulp + 4 * c.white())


_OCT_LAYERS = (
    *((-9, 14), (-0.001, 14), (0, 175), (0.10, 165), (0.14, 120), (0.32, 115), (0.36, 60), (0.46, 62)),
    *((0.50, 110), (0.60, 108), (0.64, 48), (0.82, 55), (0.84, 130), (0.87, 70), (0.90, 70), (0.93, 215)),
    *((1.0, 220), (1.04, 120), (1.9, 40), (9, 25)),
)
"""Relative depth and grey value of the layers, from the vitreous to the choroid."""


def paint_oct(c: Canvas) -> Image:
    """Paint retinal layers with a foveal pit, and fluid pockets between them."""
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
    return quantized(scan * (0.45 + 0.55 * speckle) + 5 * np.abs(c.white()))


def paint_mammography(c: Canvas) -> Image:
    """Paint a breast from the side with one mass; then further masses."""
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
    return quantized(film + 45 * c.white() * inside, np.uint16, 0, 4095)
