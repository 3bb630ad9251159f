"""A folder of small images with boxes, and a tiny bundle."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from tests.sdk.tiny_bundle import SIZE, write_tiny_bundle

BOXES = [[8, 16, 24, 20], [2, 2, 60, 40]]


def write_images(root: Path, count: int) -> Path:
    """`bundle`, `in/000.png` …, `boxes/000.json` …; the first has no boxes, the second is no image."""
    write_tiny_bundle(root / "bundle")
    for folder in ("in", "boxes"):
        (root / folder).mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        image = random.integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
        cv2.imwrite(str(root / "in" / f"{number:03}.png"), image)
        (root / "boxes" / f"{number:03}.json").write_text(json.dumps(BOXES))
    (root / "boxes" / "000.json").unlink()
    (root / "in" / "001.png").write_bytes(b"no image")
    return root


def label_maps(folder: Path) -> dict[str, bytes]:
    """The files of a folder that are images, by name."""
    kinds = (".png", ".npz", ".gz", ".dcm")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "." and path.suffix in kinds}
