"""Box prompts: checked, converted, and made from masks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import BoxError, warn
from medsam_edge.geometry import FloatArray
from medsam_edge.image import LoadedImage

BoxesLike = npt.ArrayLike | Sequence[Sequence[float]]
Boxes2D = Sequence[tuple[float, float, float, float]]
"""x0, y0, x1, y1 of each box."""
Boxes3D = Sequence[tuple[float, float, float, float, float, float]]
"""x0, y0, z0, x1, y1, z1 of each box."""


def check_boxes(boxes: BoxesLike, height: int, width: int, depth: int | None = None) -> FloatArray:
    """The one rule for box prompts.

    Args:
        boxes: (N, 4) x0, y0, x1, y1 in image pixels, or (N, 6) x0, y0, z0, x1, y1, z1 in voxels where there is a depth
            (one box of shape (4,) is taken as (1, 4), (6,) as (1, 6)); ints or floats.
        height, width: of the image, or of a volume's slices.
        depth: number of slices of a volume; None for an image.

    Returns:
        (N, 4) or (N, 6) float32 inside the image; no rows for no boxes. A box that is partly outside is clipped, with
        a warning. There are warnings of boxes less than a pixel wide, and of boxes that look like shares of the image.

    Raises:
        BoxError: another shape, not numbers, NaN or infinite, swapped corners, no area (or volume) as float32, or
            wholly outside.
    """
    sides = (width, height) if depth is None else (width, height, depth)
    array = box_array(boxes, 2 * len(sides))
    clipped = array.clip(0, sides * 2)
    used = clipped.astype(np.float32)
    for index, box in enumerate(array):
        _check_box(index, box, used[index], sides)
    if (clipped != array).any():
        outside = np.flatnonzero((clipped != array).any(axis=1)).tolist()
        warn(f"boxes {outside} reach outside the {_extent(sides)} and were clipped")
    if len(used) and array.max() <= 1 and max(sides) > 1:
        warn(f"boxes: expected pixels of the {_extent(sides)}, all numbers are within 0 to 1, as shares of it are")
    elif (thin := (used[:, len(sides) : len(sides) + 2] - used[:, :2] < 1).any(axis=1)).any():  # slices may be thick
        warn(
            f"boxes {np.flatnonzero(thin).tolist()} are less than a pixel wide; expected pixels of the {_extent(sides)}"
        )
    return used


def corners_of(boxes: BoxesLike, box_format: str) -> BoxesLike:
    """Boxes of any format as corners.

    Args:
        boxes: (N, 4) or (N, 6) in the format.
        box_format: `xyxy` x0, y0, x1, y1, far edges exclusive; `xywh` x0, y0, width, height; `cxcywh` the middle, width
            and height. With six numbers z and depth come third and sixth.

    Returns:
        `xyxy` as given; others as float64 (N, 4) or (N, 6) corners; no rows for no boxes.

    Raises:
        BoxError: not numbers, another shape, or a width, height or depth that is not above 0.
    """
    if box_format == "xyxy":
        return boxes
    columns = 6 if are_volume_boxes(boxes) else 4
    first, extent = np.split(box_array(boxes, columns), 2, axis=1)
    for index in np.flatnonzero(~(extent > 0).all(axis=1)).tolist():
        names = "width and height" if columns == 4 else "width, height and depth"
        shown = ", ".join(f"{value:g}" for value in (*first[index], *extent[index]))
        raise BoxError(f"boxes[{index}]: expected {names} above 0 with box_format {box_format!r}, got ({shown})")
    low = first - extent / 2 if box_format == "cxcywh" else first
    return np.concatenate([low, low + extent], axis=1)


def box_array(boxes: BoxesLike, columns: int) -> npt.NDArray[np.float64]:
    """Numbers of shape (N, columns); `check_boxes` says whether they are boxes.

    Raises:
        BoxError: another shape, or not numbers.
    """
    names = "x0, y0, x1, y1" if columns == 4 else "x0, y0, z0, x1, y1, z1"
    try:
        array = _numbers(boxes)
    except (TypeError, ValueError, OverflowError) as error:
        raise BoxError(f"boxes: expected numbers of shape (N, {columns}), got {boxes!r}") from error
    if array.size == 0:
        return np.zeros((0, columns))
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != columns:
        raise BoxError(f"boxes: expected shape (N, {columns}) as {names}, got {np.shape(boxes)}")
    return array


def _numbers(values: BoxesLike) -> npt.NDArray[np.float64]:
    """float64; TypeError or ValueError where numpy would make numbers of what is none: strings, dates, truth values."""
    array = np.asarray(values)
    plain = array.dtype.kind in "iuf" or array.size == 0
    if not plain and not (array.dtype == object and all(isinstance(value, Real) for value in array.flat)):
        raise TypeError(f"expected real numbers, got {array.dtype}")
    return array.astype(np.float64)


def are_volume_boxes(boxes: BoxesLike) -> bool:
    """Whether they have six columns; `check_boxes` says whether they are boxes at all."""
    try:
        return np.shape(boxes)[-1:] == (6,)
    except ValueError:  # rows of different lengths
        return False


def is_volume(loaded: LoadedImage, boxes: BoxesLike) -> bool:
    """Whether boxes are those of a volume; without boxes, whether the image is one (a last side of 3 is RGB)."""
    shape = loaded.pixels.shape
    with suppress(ValueError):  # rows of different lengths: `check_boxes` says so
        if np.size(boxes) == 0 and len(shape) == 3 and (shape[2] != 3 or loaded.color is False):
            return True
    return are_volume_boxes(boxes)


def _check_box(index: int, box: npt.NDArray[np.float64], used: FloatArray, sides: tuple[int, ...]) -> None:
    """`used` is the box clipped and rounded to float32, which may have no area though the box has one."""
    shown = f"({', '.join(f'{value:g}' for value in box)})"
    low, high = box[: len(sides)], box[len(sides) :]
    meets = bool((high > 0).all() and (low < sides).all())
    if not np.isfinite(box).all():
        raise BoxError(f"boxes[{index}]: expected finite numbers, got {shown}")
    if (low > high).any():
        order = " and ".join(f"{name}0 < {name}1" for name in "xyz"[: len(sides)])
        raise BoxError(
            f"boxes[{index}]: expected {order}, got swapped corners {shown}; is box_format 'xywh' or 'cxcywh'?"
        )
    if (low == high).any() or (meets and (used[: len(sides)] == used[len(sides) :]).any()):
        raise BoxError(
            f"boxes[{index}]: expected a box with {'an area' if len(sides) == 2 else 'a volume'}, got {shown}"
        )
    if not meets:
        raise BoxError(f"boxes[{index}]: expected a box that meets the {_extent(sides)}, got {shown}")


def _extent(sides: tuple[int, ...]) -> str:
    return f"{'x'.join(map(str, sides))} {'image' if len(sides) == 2 else 'volume'}"


def boxes_from_masks(labels: npt.NDArray[np.integer[Any]]) -> FloatArray:
    """Tight boxes of a label map's objects, in the order of their values; one pass, whatever their number.

    Args:
        labels: (H, W) or (D, H, W) integers, 0 background.

    Returns:
        float32 with the far edges exclusive: (N, 4) x0, y0, x1, y1, or (N, 6) x0, y0, z0, x1, y1, z1 for a volume;
        no rows when there is no object.
    """
    planes = labels.reshape(-1, *labels.shape[-2:])
    sides = planes.shape[::-1]
    seen = [np.zeros((int(planes.max(initial=0)) + 1, side), dtype=bool) for side in sides]  # x, y, z
    for z, plane in enumerate(planes):
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        if rows.size:
            part = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            seen[0][part, np.arange(columns[0], columns[-1] + 1)] = True
            seen[1][part, np.arange(rows[0], rows[-1] + 1)[:, None]] = True
            seen[2][part, z] = True
    values = 1 + np.flatnonzero(seen[2][1:].any(axis=1))
    axes = [hit[values] for hit in seen[: labels.ndim]]
    low = [hit.argmax(axis=1) for hit in axes]
    high = [hit.shape[1] - hit[:, ::-1].argmax(axis=1) for hit in axes]
    return np.stack(low + high, axis=1).astype(np.float32)
