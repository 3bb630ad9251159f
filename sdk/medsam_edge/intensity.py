"""Stored values → the 8-bit picture the network was trained on (the challenge's data preparation).

`uint8` is taken as display-ready and never touched. Everything else follows its modality: CT in HU through a window,
other grey modalities through the 0.5–99.5 percentiles of their non-zero pixels, colour scaled only when outside 0–255.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError, InputError
from medsam_edge.modality import Modality

Window = tuple[float, float]

SOFT_TISSUE: Window = (40.0, 400.0)
"""CT window as (level, width) in HU; the challenge's default."""


def to_display(
    image: npt.NDArray[np.generic], modality: Modality | None = None, window: Window | None = None
) -> npt.NDArray[np.uint8]:
    """Map an image to 8 bits.

    Args:
        image: (H, W) grey or (H, W, 3) RGB, any real dtype. A boolean image counts as 0/1.
        modality: chooses the rule; None is treated as a grey modality without a window.
        window: (level, width) in the image's own units; overrides the rule for grey images.

    Returns:
        uint8 of the same shape; the very same array when it was uint8 already and no window is given.

    Raises:
        ImageError: NaN or infinite values, or a dtype that is not a real number.
        InputError: a window without a positive width.
    """
    if window is not None and not (np.isfinite(window).all() and window[1] > 0):
        raise InputError(f"window: expected (level, width) with a positive width, got {window}")
    if image.dtype == np.uint8 and window is None:
        return image.astype(np.uint8, copy=False)
    if image.dtype.kind not in "buif":
        raise ImageError(f"image: expected a real numeric dtype, got {image.dtype}")
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("image: expected finite values, got NaN or infinity")
    if image.ndim == 3:
        return _color(values, unit_range=image.dtype.kind == "f")
    if window is None and modality is Modality.CT:
        window = SOFT_TISSUE
    if window is not None:
        level, width = window
        return _stretch(values, level - width / 2, level + width / 2)
    return _percentiles(values)


def _color(values: npt.NDArray[np.float32], unit_range: bool) -> npt.NDArray[np.uint8]:
    """Floats within 0–1 are taken as 0–255 divided by 255; what leaves 0–255 is stretched from min to max."""
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        return _stretch(values, low, high)
    return np.rint(values * 255.0 if unit_range and high <= 1 else values).astype(np.uint8)


def _percentiles(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """0.5–99.5 percentiles of the non-zero pixels to 0–255; zero stays zero."""
    nonzero = values[values != 0]
    if nonzero.size == 0:
        return np.zeros(values.shape, dtype=np.uint8)
    low, high = np.percentile(nonzero, (0.5, 99.5))
    if low == high:  # an object of one value on zero is still an object
        low = min(float(values.min()), 0.0)
    stretched = _stretch(values, float(low), float(high))
    stretched[values == 0] = 0
    return stretched


def _stretch(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    scaled = (values.clip(low, high) - low) / max(high - low, 1e-8) * 255.0
    return np.rint(scaled).astype(np.uint8)
