"""Stored values → the 8-bit image that the network was trained on, by the challenge's rules.

`uint8` is display-ready and stays unchanged. Other dtypes follow their modality: CT in HU through a window, other grey
images through the 0.5 and 99.5 percentiles of their non-zero pixels, colour images by their range of values. Padding is
left out of the percentiles: what a DICOM header says is padding, which is shown black, else a negative lowest value of
many pixels, far below all others.

Values that do not fit their modality give a wrong image without an error, so `warn_of_values` checks them. Only CT has
an absolute scale, so only CT has rules, and `uint8` is never checked:

- Some value lies from -1024 to -200 HU, as air does in or around the patient; what is lower is padding. If none does,
  the values were windowed or scaled before, or lack the file's intercept. A crop from inside an organ causes a false
  alarm.
- No value lies outside the 16 bits in which CT is stored.
- Without a modality, values that can only be HU are shown as CT, with a warning: `looks_like_ct`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError, InputError, warn
from medsam_edge.modality import Modality

Padding = tuple[float, float]
"""The lowest and the highest value of pixels that were not measured."""
Window = tuple[float, float] | str
"""(level, width) in the image's own units, HU for CT; or a name in `WINDOWS`."""

SOFT_TISSUE = (40.0, 400.0)
"""The challenge's default CT window, (level, width) in HU."""

WINDOWS = MappingProxyType(
    {
        "soft-tissue": SOFT_TISSUE,
        "lung": (-600.0, 1500.0),
        "brain": (40.0, 80.0),
        "bone": (400.0, 1800.0),
        "liver": (30.0, 150.0),
    }
)
"""CT windows by name, (level, width) in HU: common reading presets (Radiopaedia, "Windowing (CT)")."""

HIGHEST_AIR = -200.0
"""HU. Air is -1000, lung about -700, fat -100: a CT without a lower value shows neither air nor lung."""
LOWEST_AIR = -1024.0
"""HU. Lower values stand for what was not measured: outside the circle of reconstruction, -2000, -3024 and others."""

AIR, TISSUE, SHARE = (-1100.0, -900.0), (-200.0, 200.0), 0.02
"""HU around air and water, and the share of pixels that each has at least in what is taken for CT."""
LARGEST = float(np.finfo(np.float32).max)
"""Values that are further apart, and windows that reach further, cannot be shown: arithmetic is in float32."""
PADDING_SHARE, PADDING_GAP = 0.005, 0.1
"""A padding value has this share of the pixels, and this share of the range of all others lies between it and them."""


def to_display(
    image: npt.NDArray[np.generic],
    modality: Modality | None = None,
    window: Window | None = None,
    padding: Padding | None = None,
) -> npt.NDArray[np.uint8]:
    """Map an image to 8 bits.

    Args:
        image: (H, W) grey or (H, W, 3) RGB of any real dtype; booleans count as 0 and 1.
        modality: selects the rule; None counts as CT if `looks_like_ct`, else as another grey modality.
        window: (level, width) in the image's own units, or a name in `WINDOWS`, which are in HU. It overrides the rule
            and is for grey images only.
        padding: values of a grey image that were not measured: black, and left out of the percentiles.

    Returns:
        uint8 of the same shape; `image` itself if it is uint8 and no window is given.

    Raises:
        ImageError: NaN or infinite values, values further apart than `LARGEST`, or a dtype that is not a real number.
        InputError: a window without a positive width, an unknown window name, a window name for an image that is not
            CT in HU, or a window for a colour image.
    """
    if window is not None and image.shape[2:] == (3,):
        raise InputError(f"window: expected None for a colour image, got {window!r}")
    window = _level_width(window, image, modality)
    if _is_display(image, window):
        return image.astype(np.uint8, copy=False)
    if image.ndim == 3:
        return _color(_floats(image), unit_range=image.dtype.kind == "f")
    shown: npt.NDArray[np.uint8] = _grey(image[None], modality, window, padding)[0]
    return shown


def volume_to_display(
    volume: npt.NDArray[np.generic],
    modality: Modality | None = None,
    window: Window | None = None,
    padding: Padding | None = None,
) -> npt.NDArray[np.uint8]:
    """Map a (D, H, W) volume to 8 bits like a grey image in `to_display`, by the percentiles of the whole volume.

    Slices are converted one by one. Percentiles need one float32 copy of the non-zero values; nothing else is copied.
    """
    window = _level_width(window, volume, modality)
    if _is_display(volume, window):
        return volume.astype(np.uint8, copy=False)
    return _grey(volume, modality, window, padding)


def looks_like_ct(image: npt.NDArray[np.generic]) -> bool:
    """Whether values can only be HU: many as of air, many as of tissue, and no spread below air.

    Args:
        image: (H, W) or (D, H, W) grey. Of a large one every fourth row and column is looked at.
    """
    if image.dtype.kind not in "if" or image.dtype == np.int8:
        return False
    step = 4 if image.size > 1 << 20 else 1
    seen: npt.NDArray[Any] = image[..., ::step, ::step]
    low, high = float(seen.min()), float(seen.max())
    if not (-32768 <= low <= AIR[1] and high <= 32767):
        return False
    air, tissue = (np.count_nonzero((seen >= first) & (seen <= last)) for first, last in (AIR, TISSUE))
    below = np.count_nonzero((seen < AIR[0]) & (seen > low))  # all but one padding value
    return bool(min(air, tissue) >= SHARE * seen.size and below < SHARE * seen.size)


def warn_of_values(image: npt.NDArray[np.generic], modality: Modality | None, window: Window | None = None) -> None:
    """Warn if the values do not fit the modality; the module's docstring gives the rules.

    Args:
        image: (H, W) or (D, H, W) grey, of finite real numbers.
        window: what the caller chose. With one, an image without a modality is not taken for CT.
    """
    if modality is None and window is None and looks_like_ct(image):
        warn(
            "image: its values are those of CT in HU, so it is shown as CT; say modality='CT', or which other one it is"
        )
    if modality is not Modality.CT or image.dtype == np.uint8:
        return
    low, high = float(image.min()), float(image.max())
    values: npt.NDArray[Any] = image
    lowest = low if low >= LOWEST_AIR else float(values.min(where=values >= LOWEST_AIR, initial=high))
    if low < -32768 or high > 32767:
        expected = "-32768 to 32767 HU"
    elif lowest >= HIGHEST_AIR:
        expected = f"air below {HIGHEST_AIR:g} HU; were they windowed, scaled, or never converted to HU?"
    else:
        return
    warn(f"image: CT values range from {low:g} to {high:g} ({image.dtype}); expected {expected}")


def _level_width(
    window: Window | None, image: npt.NDArray[np.generic], modality: Modality | None
) -> tuple[float, float] | None:
    """Look up a window's numbers and check that the window fits the image."""
    if isinstance(window, str):
        if window not in WINDOWS:
            raise InputError(f"window: expected (level, width) or one of {', '.join(WINDOWS)}, got {window!r}")
        if modality not in (None, Modality.CT):
            raise InputError(f"window: {window!r} is for CT, the image is {modality}; expected (level, width)")
        if image.dtype == np.uint8:
            raise InputError(f"window: {window!r} is in HU, but the image is uint8; expected None or (level, width)")
        return WINDOWS[window]
    if window is not None and not (_are_two_numbers(window) and window[1] > 0 and abs(window[0]) + window[1] < LARGEST):
        raise InputError(f"window: expected (level, width) with a positive width, got {window}")
    return window


def _are_two_numbers(value: object) -> bool:
    return len(value) == 2 and np.asarray(value).dtype.kind in "iuf" if isinstance(value, (tuple, list)) else False


def _is_display(image: npt.NDArray[np.generic], window: tuple[float, float] | None) -> bool:
    """Whether the image needs no conversion; raises ImageError for a dtype that is not a real number."""
    if image.dtype.kind not in "buif":
        raise ImageError(f"image: expected a real numeric dtype, got {image.dtype}")
    return window is None and bool(image.dtype == np.uint8)


def _floats(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    values = image.astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("image: expected finite values, got NaN or infinity")
    return values


def _color(values: npt.NDArray[np.float32], unit_range: bool) -> npt.NDArray[np.uint8]:
    """Stretch values that leave 0–255 from minimum to maximum; floats up to 2 are shares of 255, clipped at 1."""
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        return _stretch(values, low, high)
    return np.rint(np.minimum(values, 1) * 255.0 if unit_range and high <= 2 else values).astype(np.uint8)


def _grey(
    planes: npt.NDArray[np.generic],
    modality: Modality | None,
    window: tuple[float, float] | None,
    padding: Padding | None,
) -> npt.NDArray[np.uint8]:
    """Show (D, H, W) through a window, or through the percentiles of all planes."""
    if window is None and (modality is Modality.CT or (modality is None and looks_like_ct(planes))):
        window = SOFT_TISSUE
    low, high = (
        _percentiles(planes, padding) if window is None else (window[0] - window[1] / 2, window[0] + window[1] / 2)
    )
    shown = np.empty(planes.shape, dtype=np.uint8)
    for plane, target in zip(planes, shown, strict=True):
        values = _floats(plane)
        target[:] = _stretch(values, low, high)
        if padding is not None and (window is None or padding[0] >= high):
            target[(values >= padding[0]) & (values <= padding[1])] = 0
    return shown


def _percentiles(planes: npt.NDArray[np.generic], padding: Padding | None) -> tuple[float, float]:
    """Return the 0.5 and 99.5 percentiles of the non-zero values without padding; (0, 0) if there are none."""
    nonzero, count = np.empty(planes.size, dtype=np.float32), 0
    for plane in planes:
        values = _floats(plane)
        kept = values != 0
        if padding is not None:
            kept &= (values < padding[0]) | (values > padding[1])
        values = values[kept]
        nonzero[count : count + values.size] = values
        count += values.size
    if count == 0:
        return 0.0, 0.0
    smallest = min(float(nonzero[:count].min()), 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # of values too far apart, which `_stretch` refuses
        low, high = np.percentile(_without_padding(nonzero[:count], smallest), (0.5, 99.5), overwrite_input=True)
    # If all non-zero values are equal, the object must not turn black.
    return (smallest if low == high else float(low)), float(high)


def _without_padding(values: npt.NDArray[np.float32], smallest: float) -> npt.NDArray[np.float32]:
    """The values above the smallest, if that one is a padding value; else all."""
    above = values > smallest
    padded = values.size - np.count_nonzero(above)
    if smallest == 0 or padded < PADDING_SHARE * values.size or padded == values.size:
        return values
    second, highest = float(values.min(where=above, initial=np.inf)), float(values.max())
    return values[above] if second - smallest > PADDING_GAP * (highest - second) else values


def _stretch(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    if not high - low <= LARGEST:
        raise ImageError(f"image: expected values less than {LARGEST:.2g} apart, got {low:g} to {high:g}")
    scaled = (values.clip(low, high) - low) / max(high - low, float(np.finfo(np.float32).tiny)) * 255.0
    return np.rint(scaled).astype(np.uint8)
