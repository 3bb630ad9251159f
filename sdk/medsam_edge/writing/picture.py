"""Pictures → png, jpg, tif, bmp."""

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
    """(H, W) uint8 or uint16, or (H, W, 3) RGB uint8 → png, tif, bmp or jpg by suffix.

    Raises:
        ImageError: a suffix that OpenCV cannot write, or that holds no 16 bits or no picture of this size; or the
            folder takes no file.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    check_picture_suffix(path)
    if image.dtype != np.uint8 and not path.name.lower().endswith((".png", ".tif", ".tiff")):  # OpenCV would cut to 8
        raise ImageError(f"output: expected png or tif for 16 bits, as of labels above 255, got {path.name}")
    with writing_whole(path) as partial:
        done, encoded = cv2.imencode(path.suffix, bgr)  # imwrite does not say why it could not
        if not done:
            raise ImageError(f"output: no {path.suffix} of shape {image.shape}")
        partial.write_bytes(encoded.tobytes())


def check_picture_suffix(path: Path) -> None:
    """Raises ImageError when no picture is written with this suffix."""
    if not path.name.lower().endswith(PICTURE_SUFFIXES):
        raise ImageError(f"output: expected one of {' '.join(PICTURE_SUFFIXES)}, got {path.name}")
