"""Chosen objects of one image as a file: a label map in any format of the sdk, or JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError
from medsam_edge.server.held import HeldImage
from medsam_edge.server.masks import Result, axis_of, paint, run_lengths, slices_of
from medsam_edge.writing.labels import write_labels

JSON_FORMATS = ("coco", "rle", "polygons")
MEDIA_TYPES = {"png": "image/png", "tif": "image/tiff", "dcm": "application/dicom"}


@dataclass(frozen=True, eq=False)
class Named:
    """An object of a result, with the name and the colour that a person gave it."""

    result: Result
    index: int
    name: str = ""
    color: str = ""

    @property
    def score(self) -> float:
        return float(self.result.scores[self.index])


def exported(held: HeldImage, objects: Sequence[Named], form: str) -> tuple[bytes, str, str]:
    """The file's bytes, its media type and its name.

    Raises:
        ImageError, InputError: what the format cannot hold; see `medsam_edge.results.result.Segmentation.save`.
    """
    stem = held.name.split(".")[0] or "labels"
    if form in JSON_FORMATS:
        text = json.dumps(coco(held, objects) if form == "coco" else _by_object(held, objects, form))
        return text.encode(), "application/json", f"{stem}.{form}.json"
    with tempfile.TemporaryDirectory(prefix="medsam-edge-") as folder:
        path = Path(folder) / f"labels.{form}"
        called = form == "dcm" and any(own.name for own in objects)  # DICOM SEG alone has names
        names = [own.name or f"object {number}" for number, own in enumerate(objects, start=1)] if called else None
        write_labels(path, label_map(held, objects), held.loaded.frame, names)
        return path.read_bytes(), MEDIA_TYPES.get(form, "application/octet-stream"), f"{stem}.{form}"


def label_map(held: HeldImage, objects: Sequence[Named]) -> npt.NDArray[np.uint16]:
    """uint16 of the image's shape: label i + 1 for the i-th object, later over earlier."""
    labels = np.zeros(held.shape, dtype=np.uint16)
    for number, own in enumerate(objects, start=1):
        paint(labels, own.result, own.index, number)
    return labels


def coco(held: HeldImage, objects: Sequence[Named]) -> dict[str, Any]:
    """COCO's annotation file: one image for a picture, or for each slice that has an object; masks as its RLE.

    A slice's id is its number. Objects of a volume must be along one axis.

    Raises:
        InputError: objects along several axes.
    """
    axes = {axis_of(own.result) for own in objects} or {0}
    if len(axes) > 1:
        raise InputError(f"objects: expected all along one axis for coco, got axes {sorted(axes)}")
    height, width = plane_shape(held, axes.pop())
    annotations: list[dict[str, Any]] = []
    for category, own in enumerate(objects, start=1):
        for z, mask, score in slices_of(own.result, own.index):
            rows, columns = mask.pixels.shape
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": z,
                    "category_id": category,
                    "segmentation": _coco_rle(mask.where, mask.pixels, height, width),
                    "area": int(mask.pixels.sum()),
                    "bbox": [mask.left, mask.top, columns, rows],
                    "iscrowd": 1,
                    "score": own.score if score is None else score,
                }
            )
    used = sorted({own["image_id"] for own in annotations})
    return {
        "images": [{"id": z, "width": width, "height": height, "file_name": held.name, "slice": z} for z in used],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": own.name or f"object {number}"} for number, own in enumerate(objects, start=1)
        ],
    }


def _by_object(held: HeldImage, objects: Sequence[Named], form: str) -> dict[str, Any]:
    """`rle` or `polygons`, slice by slice, of each object."""
    described = []
    for own in objects:
        height, width = plane_shape(held, axis_of(own.result))
        slices = []
        for z, mask, _ in slices_of(own.result, own.index):
            if form == "rle":
                slices.append({"slice": z, "rle": _coco_rle(mask.where, mask.pixels, height, width)})
            else:
                slices.append({"slice": z, "polygons": polygons(mask.pixels, mask.top, mask.left)})
        described.append(
            {"name": own.name, "color": own.color, "score": own.score, "axis": axis_of(own.result), "slices": slices}
        )
    return {"image": held.id, "file_name": held.name, "shape": list(held.shape), "objects": described}


def polygons(pixels: npt.NDArray[np.bool_], top: int, left: int) -> list[list[list[int]]]:
    """Outlines of a cropped mask: lists of [x, y], the pixels on the border; holes are filled."""
    found, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour.reshape(-1, 2) + np.array([left, top])).tolist() for contour in found]


def _coco_rle(
    where: tuple[slice, slice], pixels: npt.NDArray[np.bool_], height: int, width: int
) -> dict[str, list[int]]:
    """COCO's uncompressed RLE: runs down the columns of the whole plane, background first."""
    plane = np.zeros((height, width), dtype=bool)
    plane[where] = pixels
    return {"size": [height, width], "counts": run_lengths(plane.T)}


def plane_shape(held: HeldImage, axis: int) -> tuple[int, int]:
    """Height and width of the slices along an axis; of a picture, whatever the axis, its own."""
    if not held.volume:
        return held.shape[0], held.shape[1]
    height, width = (side for at, side in enumerate(held.shape) if at != axis)
    return height, width
