"""Drawn regions → points: along the centre line of a scribble, or spread over an area."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.server.masks import extent_of

MOST_POINTS = 8
SPACING = 3.0
"""Least distance between two points of a scribble, in its own thicknesses."""


def flattest(mask: npt.NDArray[np.bool_], preferred: int) -> int:
    """The array axis along which a drawing is thinnest; the preferred one of equals."""
    extent = extent_of(mask)
    lengths = [0, 0, 0] if extent is None else (extent[:, 1] - extent[:, 0]).tolist()
    return preferred if lengths[preferred] == min(lengths) else int(np.argmin(lengths))


def fullest(mask: npt.NDArray[np.bool_], axis: int) -> int:
    """The slice along an axis that has most of a drawing."""
    return int(mask.sum(axis=tuple(other for other in range(3) if other != axis)).argmax())


def centre_points(plane: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(K, 2) row, column: at most eight points on the centre line of a scribble, evenly spread; (0, 2) of none.

    The centre line is where the distance to the border has a ridge.
    """
    padded = np.pad(plane.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    ridge = (distance > 0) & (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8)))
    thickness = 2 * float(distance.max(initial=0))
    return spread(np.argwhere(ridge), SPACING * thickness)


def spread(places: npt.NDArray[np.int64], apart: float = 0.0) -> npt.NDArray[np.int64]:
    """At most eight of (N, D) places, each as far from the others as can be: farthest points first.

    The first is the one nearest to the middle; no two are nearer than `apart`.
    """
    if not len(places):
        return places
    first = int(np.linalg.norm(places - places.mean(axis=0), axis=1).argmin())
    chosen, nearest = [first], np.linalg.norm(places - places[first], axis=1)
    while len(chosen) < MOST_POINTS and nearest.max() > apart:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return places[chosen]
