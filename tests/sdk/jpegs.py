"""JPEG files for tests."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy.typing as npt

TURNED = 6
"""The EXIF orientation of a picture that is stored lying on its left side: it is read turned by 90° clockwise."""


def write_jpeg(path: Path, image: npt.NDArray[Any], orientation: int | None = None) -> Path:
    """Write (H, W) or (H, W, 3) RGB uint8, as it is, with an EXIF orientation if there is one."""
    encoded = cv2.imencode(".jpg", image[..., ::-1] if image.ndim == 3 else image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    raw = encoded.tobytes()
    if orientation is not None:
        exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)
        raw = raw[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + raw[2:]
    path.write_bytes(raw)
    return path
