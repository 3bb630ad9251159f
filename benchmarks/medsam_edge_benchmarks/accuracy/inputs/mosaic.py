"""Small objects in large images, made of images at hand: several side by side, as one.

A network shrinks all it sees to one square, so in a mosaic of 4 × 4 every object is a quarter as long there: what a
nucleus is on a whole slide.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from medsam_edge.errors import InputError
from medsam_edge_benchmarks.accuracy.inputs.items import Item, Loaded


def mosaics(items: Sequence[Item], side: int) -> list[Item]:
    """Items of `side` × `side` images of one modality and dataset, neighbours in the order given; each in one mosaic.

    There is no mosaic with empty cells: images too few to fill one are left out, which is told on stderr. Nothing is
    read before a mosaic is loaded; loading one that has a volume raises InputError.

    Raises:
        InputError: no dataset has enough images for one mosaic.
    """
    datasets: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        datasets.setdefault((item.modality.value, item.dataset), []).append(item)
    cells, made = side * side, []
    for (modality, dataset), own in datasets.items():
        if left := len(own) % cells:
            print(f"{modality}/{dataset}: {left} of {len(own)} images fill no mosaic and are left out", file=sys.stderr)
        for start in range(0, len(own) - left, cells):
            parts = own[start : start + cells]
            load = partial(_load, parts, side)
            made.append(replace(parts[0], key=f"{parts[0].key} + {cells - 1}", load=load))
    if not made:
        raise InputError(f"--mosaic {side}: expected {cells} images or more of one modality and dataset")
    return made


def _load(parts: Sequence[Item], side: int) -> Loaded:
    """Cells are as large as the largest image; what an image does not fill of its cell has its own darkest value."""
    loaded = [_picture(part) for part in parts]
    height, width = np.max([own.labels.shape for own in loaded], axis=0).tolist()
    color = (3,) if any(own.image.ndim == 3 for own in loaded) else ()
    image = np.empty((side * height, side * width, *color), dtype=np.uint8)
    labels = np.zeros(image.shape[:2], dtype=np.int32)
    objects = 0
    for number, own in enumerate(loaded):
        top, left = height * (number // side), width * (number % side)
        rows, columns = own.labels.shape
        there = slice(top, top + rows), slice(left, left + columns)
        image[top : top + height, left : left + width] = own.image.min()
        image[there] = cv2.cvtColor(own.image, cv2.COLOR_GRAY2RGB) if color and own.image.ndim == 2 else own.image
        values = np.unique(own.labels[own.labels > 0])
        labels[there] = np.where(own.labels > 0, objects + 1 + np.searchsorted(values, own.labels), 0)
        objects += len(values)
    return Loaded(image, labels, (1.0, 1.0))


def _picture(item: Item) -> Loaded:
    loaded = item.load()
    if loaded.labels.ndim != 2:
        raise InputError(f"--mosaic: expected pictures, {item.key} is a volume of shape {loaded.labels.shape}")
    return loaded
