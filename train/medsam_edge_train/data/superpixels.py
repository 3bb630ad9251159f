"""Synthetic labels: superpixels in place of masks (ScribblePrompt, Wong et al., 2024).

A network that learns to outline them finds the border of whatever a box holds, also on images without masks.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]

SIGMA = (0.5, 1.5)  # range of the smoothing before segmentation, in pixels
MINIMUM_PIXELS = 40
LARGEST = 0.35  # share of the image
SLIVER = 0.25  # smallest share of its box that a superpixel fills
CLOSING = np.ones((3, 3), np.uint8)


def superpixels(image: Pixels, scales: tuple[float, float], rng: np.random.Generator) -> Labels:
    """Segment an image into regions of like intensity (Felzenszwalb and Huttenlocher, 2004), at a random scale.

    Args:
        image: (H, W) or (H, W, 3) uint8.
        scales: range of the scale, log-uniform: small scales give small regions.

    Returns:
        (H, W): 0 background, 1..N the regions that could be objects: large enough, no slivers, not the whole image;
        holes of a pixel or two are closed.
    """
    from skimage.segmentation import felzenszwalb

    regions = felzenszwalb(
        image.astype(np.float32) / 255,
        scale=float(np.exp(rng.uniform(*np.log(scales)))),
        sigma=float(rng.uniform(*SIGMA)),
        min_size=MINIMUM_PIXELS,
        channel_axis=-1 if image.ndim == 3 else None,
    )
    labels = np.zeros(image.shape[:2], np.int32)
    counts = np.bincount(regions.ravel())
    for region in np.flatnonzero(counts <= LARGEST * regions.size):
        mask = (regions == region).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(mask)
        if counts[region] >= SLIVER * width * height:
            part = slice(y, y + height), slice(x, x + width)
            closed = cv2.morphologyEx(mask[part], cv2.MORPH_CLOSE, CLOSING) > 0
            labels[part][closed & (labels[part] == 0)] = region + 1
    return labels
