"""Write an image as a png, jpg, tif or bmp file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.reading.suffixes import PICTURE_SUFFIXES
from medsam_edge.writing.whole import writing_whole


def write_picture(path: Path, image: npt.NDArray[Any]) -> None:
    """Write an image in the format of the suffix: (H, W) uint8, or uint16 as png or tif, or (H, W, 3) RGB uint8.

    ImageError for an unknown suffix, a format that cannot hold the image, or a file that cannot be written.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    check_picture_suffix(path)
    if image.dtype != np.uint8 and not path.name.lower().endswith((".png", ".tif", ".tiff")):  # OpenCV would cut to 8
        raise ImageError(f"output: expected png or tif for 16 bits, as of labels above 255, got {path.name}")
    with writing_whole(path) as partial:
        done, encoded = cv2.imencode(path.suffix, bgr)  # imwrite gives no reason for a failure
        if not done:
            raise ImageError(f"output: no {path.suffix} of shape {image.shape}")
        partial.write_bytes(encoded.tobytes())


def as_png(image: npt.NDArray[np.uint8]) -> bytes:
    """(H, W), or (H, W, 3) RGB, as a png file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else np.ascontiguousarray(image)
    return cv2.imencode(".png", bgr)[1].tobytes()


def check_picture_suffix(path: Path) -> None:
    """Raise ImageError unless the suffix is that of a picture."""
    if not path.name.lower().endswith(PICTURE_SUFFIXES):
        raise ImageError(f"output: expected one of {' '.join(PICTURE_SUFFIXES)}, got {path.name}")
