"""Write a label map as a PNG with a palette."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.reading.palette import MARK, SIGNATURE, chunk
from medsam_edge.writing.whole import writing_whole

HUE_STEP = 0.618  # of the circle: the golden ratio keeps near numbers apart


def write_label_png(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """Write (H, W) labels: 0 is black, each object has its colour. `read_image` gives the numbers back, as PIL does."""
    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = labels
    with writing_whole(path) as partial:
        partial.write_bytes(
            SIGNATURE
            + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0))
            + chunk(b"tEXt", MARK)
            + chunk(b"PLTE", colors().tobytes())
            + chunk(b"IDAT", zlib.compress(rows.tobytes(), 3))
            + chunk(b"IEND", b"")
        )


def colors() -> npt.NDArray[np.uint8]:
    """(256, 3) RGB: black, then a colour for each object."""
    number = np.arange(256)
    hsv = np.stack([number * HUE_STEP % 1 * 360, 0.55 + 0.4 * (number % 2), 1 - 0.3 * (number // 2 % 2)], axis=-1)
    rgb: npt.NDArray[np.uint8] = np.rint(cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0] * 255).astype(
        np.uint8
    )
    rgb[0] = 0
    return rgb
