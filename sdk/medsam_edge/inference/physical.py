"""Boxes as given, in millimetres of the patient too → boxes in pixels of the array.

ITK puts a physical point in the middle of a pixel: index i is where pixel i has its centre. Boxes here count from pixel
edges (pixel i covers [i, i + 1)), so that half a pixel lies between the two.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import BoxesLike, box_array, check_boxes, corners_of, is_volume
from medsam_edge.errors import BoxError, InputError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.prompts import GivenPrompts
from medsam_edge.settings import Settings

SNAP = 1e-3
"""Of a pixel: edges as near as this to one between two pixels are on it. Files keep positions in 32 bits, and what
that rounds off must not bring in another slice."""


def boxes_to_pixels(boxes: BoxesLike, frame: Frame | None) -> npt.NDArray[np.float64]:
    """The smallest boxes along the array's axes that hold boxes along the patient's axes.

    Args:
        boxes: (N, 6) x0, y0, z0, x1, y1, z1 in mm, any two opposite corners, in the coordinates of the file as
            SimpleITK gives them (LPS for medical files); (N, 4) x0, y0, x1, y1 for a file of two dimensions.
        frame: of the image. A single slice of a file of three dimensions lies somewhere in the patient, where two
            numbers cannot say what is meant: it takes (N, 6), as a volume of one slice.

    Returns:
        float64 of the same shape in pixels or voxels, far edges exclusive, not clipped; no rows for no boxes.

    Raises:
        InputError: an image without a frame, or whose file does not say how large a pixel is.
        BoxError: not of the file's dimensions, not numbers, NaN or infinite, or no extent along an axis.
    """
    if frame is None:
        raise InputError("box_space: 'physical' needs an image that knows its spacing and origin: a medical file")
    if not frame.has_spacing:
        raise InputError(f"box_space: 'physical' needs the size of a pixel, which {frame.dicom_files[0]} does not say")
    sides = len(frame.spacing_mm)
    try:
        corners = box_array(boxes, 2 * sides).reshape(-1, 2, sides)  # (N, corner, x y z)
    except BoxError as error:
        raise BoxError(f"{error}; in mm of a file of {sides} dimensions") from error
    for index, (first, second) in enumerate(corners):
        if not np.isfinite(corners[index]).all() or (first == second).any():
            raise BoxError(f"boxes[{index}]: expected two corners of a box in mm, got {first} and {second}")
    to_index = np.linalg.inv(np.reshape(frame.direction, (sides, sides)) * frame.spacing_mm)
    middle = (corners.mean(axis=1) - frame.origin_mm) @ to_index.T + 0.5  # from the centre of pixel 0 to its edge
    half = np.abs(corners[:, 1] - corners[:, 0]) / 2 @ np.abs(to_index).T  # the farthest of the eight corners
    pixels = np.concatenate([middle - half, middle + half], axis=1)
    whole = np.rint(pixels)
    return np.where(np.abs(pixels - whole) < SNAP, whole, pixels)


def in_pixels(loaded: LoadedImage, request: GivenPrompts, settings: Settings) -> tuple[GivenPrompts, bool]:
    """Prompts with boxes in pixels, all far edges exclusive, and whether they are those of a volume."""
    boxes = request.boxes
    if boxes is None and request.points is not None:
        return request, loaded.pixels.ndim == 3 and not loaded.color and loaded.pixels.shape[2] != 3
    if boxes is None:
        if loaded.boxes is None:
            raise BoxError("boxes: expected (N, 4) or (N, 6), got None, and the image carries none")
        return replace(request, boxes=loaded.boxes), is_volume(loaded, loaded.boxes)
    volume = is_volume(loaded, boxes)
    if volume and settings.compat and settings.box_format != "xyxy":
        raise InputError(f"box_format: compat={settings.compat!r} takes the last slice, got {settings.box_format!r}")
    boxes = corners_of(boxes, settings.box_format)
    if volume and settings.compat:  # the scripts' far end along the axis is the last slice
        boxes = box_array(boxes, 6) + np.eye(6)[5 - settings.array_axis]
    if settings.box_space == "physical":
        boxes = boxes_to_pixels(boxes, loaded.frame)
        if volume and loaded.color:  # a slice in colour that lies in the patient; there are no volumes in colour
            height, width = loaded.pixels.shape[:2]
            return replace(request, boxes=check_boxes(boxes, height, width, 1)[:, [0, 1, 3, 4]]), False
    return replace(request, boxes=boxes), volume
