"""What a viewer's user does, in voxels of the array that the viewer sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError
from medsam_edge.server.nninteractive.strokes import MOST_POINTS, centre_points, flattest, fullest, spread

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """Half-open bounds along each array axis; on one slice where one of them has a length of 1."""

    bounds: tuple[tuple[int, int], ...]
    positive: bool

    def flat_axis(self, preferred: int) -> int | None:
        flat = [axis for axis, (low, high) in enumerate(self.bounds) if high - low == 1]
        return preferred if preferred in flat else next(iter(flat), None)

    @property
    def corners(self) -> list[float]:
        """x0, y0, z0, x1, y1, z1."""
        return [float(own[end]) for end in (0, 1) for own in self.bounds[::-1]]

    def region(self, shape: Shape) -> npt.NDArray[np.bool_]:
        inside = np.zeros(shape, dtype=bool)
        inside[tuple(slice(low, high) for low, high in self.bounds)] = True
        return inside


@dataclass(frozen=True)
class Clicked:
    """Voxels along the array axes, (K, 3)."""

    places: npt.NDArray[np.int64]
    positive: bool

    @property
    def points(self) -> list[list[float]]:
        """x, y, z."""
        return [[float(value) for value in place[::-1]] for place in self.places.tolist()]

    @property
    def labels(self) -> list[int]:
        return [int(self.positive)] * len(self.places)


@dataclass(frozen=True, eq=False)
class Area:
    """A filled outline, (D, H, W) bool."""

    mask: npt.NDArray[np.bool_]
    positive: bool


@dataclass(frozen=True, eq=False)
class Initial:
    """A mask to start from, (D, H, W) bool."""

    mask: npt.NDArray[np.bool_]


Interaction = Box | Clicked | Area | Initial


def box_of(coordinates: list[list[float]], positive: bool, shape: Shape) -> Box:
    """A box as clients send it, rounded, and cut to the image.

    Raises:
        InputError: no extent, or outside the image.
    """
    bounds = []
    for axis, (ends, side) in enumerate(zip(coordinates, shape, strict=True)):
        low, high = sorted(round(end) for end in ends)
        low, high = max(low, 0), min(high, side)
        if low >= high:
            raise InputError(f"bbox_coords: expected a box inside {shape}, got {ends} along axis {axis}")
        bounds.append((low, high))
    return Box(tuple(bounds), positive)


def click_of(coordinates: list[float], positive: bool) -> Clicked:
    return Clicked(np.array([[round(value) for value in coordinates]], dtype=np.int64), positive)


def placed(mask: npt.NDArray[Any], bounds: Any, shape: Shape) -> npt.NDArray[np.bool_]:
    """A drawing, which may be that of a part of the image, as a mask of the whole.

    Raises:
        InputError: the part is not as large as the drawing, or not inside the image.
    """
    if bounds is None:
        bounds = [[0, side] for side in shape]
    try:
        pairs = [(int(low), int(high)) for low, high in bounds]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("interaction_bbox: expected three pairs of whole numbers") from error
    fits = len(pairs) == 3 and all(0 <= low < high <= side for (low, high), side in zip(pairs, shape, strict=False))
    if not fits or tuple(high - low for low, high in pairs) != mask.shape:
        raise InputError(f"interaction_bbox: expected the bounds, inside {shape}, of an array of {mask.shape}")
    whole = np.zeros(shape, dtype=bool)
    whole[tuple(slice(low, high) for low, high in pairs)] = mask != 0
    return whole


def scribble_of(mask: npt.NDArray[np.bool_], positive: bool, preferred: int) -> Clicked:
    """Clicks along the centre line of a scribble, on the slice that has most of it."""
    axis = flattest(mask, preferred)
    number = fullest(mask, axis)
    return Clicked(np.insert(centre_points(np.moveaxis(mask, axis, 0)[number]), axis, number, axis=1), positive)


def clicks_within(region: npt.NDArray[np.bool_]) -> Clicked:
    """Background clicks spread over what is wrongly taken for the object."""
    places = np.argwhere(region)
    step = max(len(places) // (64 * MOST_POINTS), 1)
    return Clicked(spread(places[::step]), False)
