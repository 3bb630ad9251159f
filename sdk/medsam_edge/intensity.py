"""Stored values → the 8-bit picture the network was trained on (the challenge's data preparation).

`uint8` is taken as display-ready and never touched. Everything else follows its modality: CT in HU through a window,
other grey modalities through the 0.5–99.5 percentiles of their non-zero pixels, colour scaled only when outside 0–255.

Values that are not what their modality says give a wrong picture without a word, so `warn_of_values` looks at them.
Only CT has a scale, so only CT has rules:

- some value lies below -200 HU, as air does, in or around the patient. If none does, the values were windowed or scaled
  before, or are raw ones without the file's intercept. A crop from inside an organ is warned of for nothing.
- no value lies outside the 16 bits that CT is stored in.

`uint8` is never looked at: it is a picture already.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError, InputError, warn
from medsam_edge.modality import Modality

Window = tuple[float, float] | str
"""(level, width) in the image's own units, HU for CT; or a name of `WINDOWS`."""

SOFT_TISSUE = (40.0, 400.0)
"""CT window as (level, width) in HU; the challenge's default."""

WINDOWS = MappingProxyType(
    {
        "soft-tissue": SOFT_TISSUE,
        "lung": (-600.0, 1500.0),
        "brain": (40.0, 80.0),
        "bone": (400.0, 1800.0),
        "liver": (30.0, 150.0),
    }
)
"""CT windows by name, (level, width) in HU: common reading presets (Radiopaedia, "Windowing (CT)"); soft-tissue is the
challenge's."""
HIGHEST_AIR = -200.0
"""HU. Air is -1000, lung about -700, fat -100: a CT without a value below this shows neither air nor lung."""


def to_display(
    image: npt.NDArray[np.generic], modality: Modality | None = None, window: Window | None = None
) -> npt.NDArray[np.uint8]:
    """Map an image to 8 bits.

    Args:
        image: (H, W) grey or (H, W, 3) RGB, any real dtype. A boolean image counts as 0/1.
        modality: chooses the rule; None is treated as a grey modality without a window.
        window: (level, width) in the image's own units, or a name of `WINDOWS`, which are in HU; overrides the rule;
            for grey images only.

    Returns:
        uint8 of the same shape; the very same array when it was uint8 already and no window is given.

    Raises:
        ImageError: NaN or infinite values, or a dtype that is not a real number.
        InputError: a window without a positive width, an unknown name, or a name for what is not CT in HU; or a window
            for an image in colour.
    """
    if window is not None and image.shape[2:] == (3,):
        raise InputError(f"window: is for grey images, expected none for one in colour, got {window!r}")
    window = _level_width(window, image, modality)
    if _is_display(image, window):
        return image.astype(np.uint8, copy=False)
    if image.ndim == 3:
        return _color(_floats(image), unit_range=image.dtype.kind == "f")
    shown: npt.NDArray[np.uint8] = _grey(image[None], modality, window)[0]
    return shown


def volume_to_display(
    volume: npt.NDArray[np.generic], modality: Modality | None = None, window: Window | None = None
) -> npt.NDArray[np.uint8]:
    """Map a (D, H, W) volume to 8 bits as `to_display` does a grey image, with the percentiles of the whole volume.

    Slices are converted one by one: beside the volume and the result there is at most one float32 copy of the values
    that are not zero, and only where percentiles are wanted.
    """
    window = _level_width(window, volume, modality)
    return volume.astype(np.uint8, copy=False) if _is_display(volume, window) else _grey(volume, modality, window)


def warn_of_values(image: npt.NDArray[np.generic], modality: Modality | None) -> None:
    """Warn, naming what was seen, where values cannot be what the modality says; the rules stand at the top.

    Args:
        image: grey, (H, W) or (D, H, W), of finite real numbers.
    """
    if modality is not Modality.CT or image.dtype == np.uint8:
        return
    low, high = float(image.min()), float(image.max())
    if low >= HIGHEST_AIR:
        expected = f"air, below {HIGHEST_AIR:g} HU; were the values windowed or scaled, or not turned into HU?"
    elif low < -32768 or high > 32767:
        expected = "HU, from -32768 to 32767"
    else:
        return
    warn(f"image: {low:g} to {high:g} ({image.dtype}) as CT: expected {expected}")


def _level_width(
    window: Window | None, image: npt.NDArray[np.generic], modality: Modality | None
) -> tuple[float, float] | None:
    """The numbers of a window, named or not, that may be used for this image."""
    if isinstance(window, str):
        if window not in WINDOWS:
            raise InputError(f"window: expected (level, width) or one of {', '.join(WINDOWS)}, got {window!r}")
        if modality not in (None, Modality.CT):
            raise InputError(f"window: {window!r} is for CT, the image is {modality}; expected (level, width)")
        if image.dtype == np.uint8:
            raise InputError(
                f"window: {window!r} is in HU, which uint8 does not hold; expected none, or (level, width)"
            )
        return WINDOWS[window]
    if window is not None and not (_are_two_numbers(window) and np.isfinite(window).all() and window[1] > 0):
        raise InputError(f"window: expected (level, width) with a positive width, got {window}")
    return window


def _are_two_numbers(value: object) -> bool:
    return len(value) == 2 and np.asarray(value).dtype.kind in "iuf" if isinstance(value, (tuple, list)) else False


def _is_display(image: npt.NDArray[np.generic], window: tuple[float, float] | None) -> bool:
    """Whether there is nothing to do; checks what does not depend on the values."""
    if image.dtype.kind not in "buif":
        raise ImageError(f"image: expected a real numeric dtype, got {image.dtype}")
    return window is None and bool(image.dtype == np.uint8)


def _floats(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("image: expected finite values, got NaN or infinity")
    return values


def _color(values: npt.NDArray[np.float32], unit_range: bool) -> npt.NDArray[np.uint8]:
    """Floats up to 2 are taken as 0–255 divided by 255, cut at 1; what leaves 0–255 is stretched from min to max."""
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        return _stretch(values, low, high)
    return np.rint(np.minimum(values, 1) * 255.0 if unit_range and high <= 2 else values).astype(np.uint8)


def _grey(
    planes: npt.NDArray[np.generic], modality: Modality | None, window: tuple[float, float] | None
) -> npt.NDArray[np.uint8]:
    """(D, H, W) through a window, or through the percentiles of all planes, which leave zero at zero."""
    if window is None and modality is Modality.CT:
        window = SOFT_TISSUE
    low, high = _percentiles(planes) if window is None else (window[0] - window[1] / 2, window[0] + window[1] / 2)
    shown = np.empty(planes.shape, dtype=np.uint8)
    for plane, target in zip(planes, shown, strict=True):
        values = _floats(plane)
        target[:] = _stretch(values, low, high)
        if window is None:
            target[values == 0] = 0
    return shown


def _percentiles(planes: npt.NDArray[np.generic]) -> tuple[float, float]:
    """0.5 and 99.5 percentiles of what is not zero."""
    nonzero, count = np.empty(planes.size, dtype=np.float32), 0
    for plane in planes:
        values = _floats(plane)
        values = values[values != 0]
        nonzero[count : count + values.size] = values
        count += values.size
    if count == 0:
        return 0.0, 0.0
    smallest = min(float(nonzero[:count].min()), 0.0)
    low, high = np.percentile(nonzero[:count], (0.5, 99.5), overwrite_input=True)
    # an object of one value on zero is still an object
    return (smallest if low == high else float(low)), float(high)


def _stretch(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    scaled = (values.clip(low, high) - low) / max(high - low, float(np.finfo(np.float32).tiny)) * 255.0
    return np.rint(scaled).astype(np.uint8)
