"""Strong changes of contrast: what a scanner, a stain or a camera that nobody trained on could make of an image."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
AnyFloat = npt.NDArray[np.floating]

CURVE_P, INVERSION_P, BIAS_P, BLUNT_P, COLOR_P = 0.5, 0.25, 0.3, 0.3, 0.3  # probability of each change
BENDS = (0.3, 0.15, 0.08)  # largest amplitudes of the waves that bend the curve of grey values
BIAS = 0.6  # largest logarithm of the bias field
BLUNT = (1.3, 3.0)  # range of the factor of a lower resolution, log-uniform
CAST = 0.5  # largest change of a channel by a colour cast


def change_contrast(image: AnyFloat, rng: np.random.Generator) -> FloatArray:
    """Change an image's contrast: its colours, a curve of grey values, inversion, uneven light, lower resolution.

    Each change has its own probability.

    Args:
        image: (S, S, C) in [0, 1]; C is 1 or 3.

    Returns:
        (S, S, C) float32 in [0, 1]; C is 1 if grey was taken from the colours.
    """
    if image.shape[2] == 3 and rng.random() < COLOR_P:
        image = image @ rng.dirichlet(np.ones(3))[:, None]
    elif image.shape[2] == 3 and rng.random() < COLOR_P:
        image = _to_one(image * rng.uniform(1 - CAST, 1 + CAST, 3))
    if rng.random() < CURVE_P:
        image = np.interp(image, *random_curve(rng))
    if rng.random() < INVERSION_P:
        image = 1 - image
    if rng.random() < BIAS_P:
        image = _to_one(image * bias_field(len(image), rng))
    if rng.random() < BLUNT_P:
        image = blunt(image.astype(np.float32), rng)
    return np.asarray(image.clip(0, 1), np.float32)


def random_curve(rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """256 grey values from 0 to 1 and what each becomes, from 0 to 1: a smooth curve that may fall in places."""
    grey = np.linspace(0, 1, 256)
    waves = np.sin(np.pi * np.arange(1, len(BENDS) + 1)[:, None] * grey)  # (3, 256)
    curve = grey + (rng.uniform(-1, 1, len(BENDS)) * BENDS) @ waves
    return grey, (curve - curve.min()) / np.ptp(curve)


def bias_field(side: int, rng: np.random.Generator) -> FloatArray:
    """(S, S, 1) smooth factors around 1."""
    coarse = rng.uniform(-BIAS, BIAS, (3, 3)).astype(np.float32)
    return np.exp(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))[..., None].astype(np.float32)


def blunt(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(S, S, C) at a lower resolution, enlarged again."""
    side = len(image)
    small = max(1, round(side / np.exp(rng.uniform(*np.log(BLUNT)))))
    shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR).reshape(image.shape).astype(np.float32)


def _to_one(image: AnyFloat) -> AnyFloat:
    """An image of values from 0, with 1 as the largest again; a black one stays black."""
    return np.asarray(image / max(float(image.max()), 1e-8))
