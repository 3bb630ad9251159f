"""CT, MR, PET, ultrasound, X-ray, OCT and mammography: grey images; CT, MR and PET slice by slice as volumes too."""

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


Body = Callable[[Canvas], tuple[FloatArray, BoolArray]]
Finish = Callable[[Canvas, FloatArray], Image]
VOLUMES: dict[Modality, tuple[Body, Finish, float, npt.DTypeLike, float]] = {
    Modality.CT: (_ct_torso, _ct_finish, 100, np.int16, 2.5),
    Modality.MR: (_mr_head, _mr_finish, 870, np.uint16, 1.5),
    Modality.PET: (_pet_body, _pet_finish, 7, np.float32, 4.0),
}
"""What draws the body, what finishes a slice, the objects' value, the dtype, and the distance of slices in mm."""
