"""What a caller asks for, besides an image: boxes, clicks and masks, checked and in pixels of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import BoxesLike, boxes_as_given, check_boxes
from medsam_edge.errors import BoxError, InputError
from medsam_edge.geometry import FloatArray

PADDING = -1
"""Label of a point that stands for none, so that rows can have equal lengths."""


@dataclass(frozen=True, eq=False)
class Clicks:
    """Those on one object: points (K, 2) x, y or (K, 3) x, y, z, the pixels clicked, float32; labels (K,) int64: 1 on
    the object, 0 on the background."""

    points: FloatArray
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def none(cls, dimensions: int) -> Clicks:
        """No clicks, in an image of two or three dimensions."""
        return cls(np.zeros((0, dimensions), np.float32), np.zeros(0, np.int64))

    def and_then(self, more: Clicks) -> Clicks:
        return Clicks(np.concatenate([self.points, more.points]), np.concatenate([self.labels, more.labels]))

    def on_slice(self, z: int, axis: int) -> Clicks:
        """Those on slice z along an array axis, x, y of the slice."""
        across = [column for column in range(3) if column != 2 - axis]
        there = self.where(self.points[:, 2 - axis] == z)
        return Clicks(there.points[:, across], there.labels)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Clicks:
        """Some of them; chosen (K,)."""
        return Clicks(self.points[chosen], self.labels[chosen])


@dataclass(frozen=True, eq=False)
class GivenPrompts:
    """Prompts as given.

    Attributes:
        boxes: (N, 4) or (N, 6); None where there are clicks alone.
        points: (N, K, 2) x, y, or (N, K, 3) x, y, z of a volume: the pixel clicked; rows may differ in length.
        point_labels: (N, K): 1 on the object, 0 on the background, -1 padding.
        prior: a mask to start from: (N, H, W) or a label map (H, W), value i for object i; of a volume (N, D, H, W) or
            (D, H, W); or a former result. bool and whole numbers are masks, floats probabilities in [0, 1].
    """

    boxes: BoxesLike | None = None
    points: Any = None
    point_labels: Any = None
    prior: Any = None

    def check(self, *shape: int, as_given: bool = False) -> CheckedPrompts:
        """The prompts in an image (height, width) or a volume (depth, height, width).

        With `as_given` boxes are taken as they are, see `boxes_as_given`.

        Raises:
            BoxError: what `check_boxes`, or `boxes_as_given`, refuses.
            InputError: points outside the image, of a wrong shape or without labels; other labels; a mask prompt of
                another shape, number or range; or numbers of boxes, points and masks that differ.
        """
        depth = shape[0] if len(shape) == 3 else None
        clicks = _clicks(self.points, self.point_labels, shape)
        if self.boxes is not None and as_given:
            boxes = boxes_as_given(self.boxes, 2 * len(shape))
        elif self.boxes is not None:
            boxes = check_boxes(self.boxes, shape[-2], shape[-1], depth)
        elif clicks is not None:
            boxes = np.full((len(clicks), 2 * len(shape)), np.nan, np.float32)
        else:
            raise BoxError(f"boxes: expected (N, {2 * len(shape)}), got None, and there are no points")
        if clicks is not None and len(clicks) != len(boxes):
            raise InputError(f"points: expected a row for each of {len(boxes)} boxes, got {len(clicks)}")
        if self.boxes is None and clicks is not None and not all(map(len, clicks)):
            raise InputError("points: expected a click on each object where there are no boxes")
        priors = () if self.prior is None else _priors(self.prior, len(boxes), shape)
        return CheckedPrompts(boxes, tuple(clicks or [Clicks.none(len(shape))] * len(boxes)), priors)

    def check_clicks(self, count: int, *shape: int) -> CheckedPrompts:
        """The clicks on `count` objects that are known already; the rest of `check`."""
        clicks = _clicks(self.points, self.point_labels, shape) or []
        if len(clicks) != count:
            raise InputError(f"points: expected a row for each of {count} objects, got {len(clicks)}")
        return CheckedPrompts(np.full((count, 2 * len(shape)), np.nan, np.float32), tuple(clicks))


@dataclass(frozen=True, eq=False)
class CheckedPrompts:
    """Prompts as checked, one of each for each of N objects.

    Attributes:
        boxes: (N, 4) or (N, 6) float32 inside the image, or anywhere with `compat`; NaN where there is none.
        clicks: N; without points where there are none.
        priors: N masks of the image's shape, bool or float32 probabilities, or logits of a former result; empty where
            there are none.
    """

    boxes: FloatArray
    clicks: tuple[Clicks, ...]
    priors: tuple[Any, ...] = ()

    @property
    def kinds(self) -> set[str]:
        """Some of `box`, `points`, `mask`."""
        return {"box"} | ({"points"} if any(map(len, self.clicks)) else set()) | ({"mask"} if self.priors else set())


def _clicks(points: Any, labels: Any, shape: tuple[int, ...]) -> list[Clicks] | None:
    if points is None:
        if labels is not None:
            raise InputError("point_labels: expected None without points")
        return None
    if labels is None:
        raise InputError("point_labels: expected a label for each point (1 object, 0 background), got None")
    names, sides = "x, y, z"[: 3 * len(shape) - 2], np.array(shape[::-1])
    rows, row_labels = _rows("points", points), _rows("point_labels", labels)
    if len(rows) != len(row_labels):
        raise InputError(f"point_labels: expected a row for each of {len(rows)} rows of points, got {len(row_labels)}")
    found = []
    for index, (row, own) in enumerate(zip(rows, row_labels, strict=True)):
        row = row.reshape(0, len(sides)) if row.size == 0 else row
        if row.ndim != 2 or row.shape[1] != len(sides):
            raise InputError(f"points[{index}]: expected (K, {len(sides)}) {names}, got shape {row.shape}")
        if own.shape != (len(row),) or not np.isin(own, (PADDING, 0, 1)).all():
            raise InputError(f"point_labels[{index}]: expected {len(row)} of 1, 0 or -1, got {own.tolist()}")
        row, own = row[own != PADDING], own[own != PADDING]
        if not (np.isfinite(row).all() and (row >= 0).all() and (row < sides).all()):
            raise InputError(
                f"points[{index}]: expected {names} inside {'x'.join(map(str, sides))}, got {row.tolist()}"
            )
        found.append(Clicks(np.floor(row).astype(np.float32), own.astype(np.int64)))
    return found


def _rows(name: str, values: Any) -> list[npt.NDArray[np.float64]]:
    """One array an object."""
    try:
        return [np.asarray(row, dtype=np.float64) for row in values]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected rows of numbers, one row an object, got {values!r}") from error


def _priors(prior: Any, count: int, shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], ...]:
    """One mask for each of `count` objects, (…shape) bool, or float32 probabilities."""
    if callable(getattr(prior, "mask", None)):  # a former result
        if len(prior) != count:
            raise InputError(f"prior: expected a result with {count} objects, as many as boxes, got {len(prior)}")
        prior = [prior.mask(index) for index in range(count)]
    try:
        array = np.asarray(prior)
    except ValueError as error:  # masks of unlike sizes
        raise InputError(f"prior: expected {(count, *shape)}, or a label map {shape}, got unlike shapes") from error
    if array.dtype.kind not in "buif":
        raise InputError(f"prior: expected masks, whole numbers or probabilities, got {array.dtype}")
    if array.dtype.kind == "f" and not (array.size == 0 or (array.min() >= 0 and array.max() <= 1)):
        raise InputError(f"prior: expected probabilities from 0 to 1, got {array.min():g} to {array.max():g}")
    if array.shape == shape and array.dtype.kind in "ui":
        if array.min(initial=0) < 0 or array.max(initial=0) > count:
            raise InputError(f"prior: expected labels 0 to {count}, one for each box, got up to {array.max()}")
        return tuple(array == value for value in range(1, count + 1))
    if array.shape == shape and count == 1:
        array = array[None]
    if array.shape != (count, *shape):
        raise InputError(f"prior: expected {(count, *shape)}, or a label map {shape}, got {array.shape}")
    return tuple(plane.astype(np.float32) if array.dtype.kind == "f" else plane != 0 for plane in array)


def joined(former: Sequence[Clicks], further: Sequence[Clicks]) -> tuple[Clicks, ...]:
    """The former clicks on each object, then the further ones."""
    return tuple(own.and_then(more) for own, more in zip(former, further, strict=True))
