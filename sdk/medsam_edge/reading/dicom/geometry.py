"""Where planes lie in the patient, and whether they make one regular volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame

Floats = npt.NDArray[np.float64]

STEP_SHARE, STEP_MM = 0.01, 0.01
"""A step between slices may differ from the median by this share of it or by this much, whichever is larger."""
SAME_PLACE_MM = 1e-3
DRIFT_PIXELS = 0.1
"""How far, in pixels, a slice may lie beside the straight line through the first one."""
SAME = 1e-4
"""What orientations (direction cosines) and spacings (mm) of one volume may differ by."""
ORTHONORMAL = 1e-3  # headers have a few decimals only
FUNCTIONAL_GROUPS = (
    ("PlanePositionSequence", "ImagePositionPatient", 3, "position"),
    ("PlaneOrientationSequence", "ImageOrientationPatient", 6, "orientation"),
    ("PixelMeasuresSequence", "PixelSpacing", 2, "pixel spacing"),
)
"""What functional groups say about a frame: the sequence, the element in its item, how many numbers, its name."""


def plane_axes(orientation: npt.ArrayLike, source: str) -> Floats:
    """Image Orientation (Patient), six direction cosines → (3, 3), its rows along x, y and the normal of the plane."""
    x, y = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3))
    if not np.allclose([x @ x, y @ y, x @ y], [1, 1, 0], rtol=0, atol=ORTHONORMAL):
        raise ImageError(f"image: {source} has an orientation of no right angle, {[*x.tolist(), *y.tolist()]}")
    x = x / np.linalg.norm(x)
    y = y - (x @ y) * x
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])


def stack_frame(
    names: Sequence[str],
    positions: Floats,
    axes: Floats,
    spacing_mm: tuple[float, float],
    files: tuple[Path, ...],
) -> Frame:
    """The frame of N ≥ 2 named planes, in the order given; its third axis points from the first to the last.

    `positions` are (N, 3) Image Position (Patient) in mm, the centre of each plane's first pixel, `axes` come from
    `plane_axes`, `spacing_mm` is along x and y, that of the slices comes from the positions. ImageError unless the
    planes lie straight behind each other at equal distances.
    """
    places = positions @ axes[2]
    normal = axes[2] * (1.0 if places[-1] >= places[0] else -1.0)
    places = positions @ normal
    steps = np.diff(places)
    for first in np.flatnonzero(np.abs(steps) < SAME_PLACE_MM).tolist():
        raise ImageError(f"image: expected one slice in each place, {names[first]} and {names[first + 1]} share one")
    usual = float(np.median(steps))
    odd = np.abs(steps - usual)
    worst = int(np.argmax(odd))
    if odd[worst] > max(STEP_SHARE * abs(usual), STEP_MM):
        raise ImageError(
            f"image: expected slices at equal distances, they are {usual:.6g} mm apart but {steps[worst]:.6g} mm "
            f"between {names[worst]} and {names[worst + 1]}"
        )
    aside = np.linalg.norm(positions - positions[0] - np.outer(places - places[0], normal), axis=1)
    worst = int(np.argmax(aside))
    if aside[worst] > DRIFT_PIXELS * min(spacing_mm):
        raise ImageError(
            f"image: expected slices straight behind each other, {names[worst]} lies {aside[worst]:.6g} mm beside "
            f"{names[0]} (a tilted gantry?); resample them first"
        )
    step = float(places[-1] - places[0]) / (len(places) - 1)
    direction = np.stack([axes[0], axes[1], normal], axis=1).ravel().tolist()
    return Frame((*spacing_mm, step), tuple(positions[0].tolist()), tuple(direction), files)


def functional_frame(groups: list[Dataset], frames: int, file: Path) -> Frame | None:
    """The frame of an enhanced object's frames, from its functional groups; None where they tell no positions.

    Frames that neither rise nor fall along the normal are sorted: `Frame.dicom_frames` has their order. ImageError
    where their planes differ, or make no volume.
    """
    positions, *common = (decimals(groups, *place[:3], file) for place in FUNCTIONAL_GROUPS)
    for values, (*_, name) in zip(common, FUNCTIONAL_GROUPS[1:], strict=True):
        if len(values) and (np.ptp(values, axis=0).max() > SAME or len(values) not in (1, frames)):
            raise ImageError(f"image: expected frames of one {name}, those of {file} differ")
    orientations, spacings = common
    if not len(positions):
        return None
    if len(positions) != frames or not len(orientations) or not len(spacings):
        raise ImageError(
            f"image: expected a position for each of {frames} frames, one orientation and one pixel spacing; "
            f"{file} has {len(positions)}, {len(orientations)} and {len(spacings)}"
        )
    row_mm, column_mm = spacings[0].tolist()
    axes = plane_axes(orientations[0], str(file))
    steps = np.diff(positions @ axes[2])
    order = np.arange(frames)
    if not ((steps >= 0).all() or (steps <= 0).all()):
        order = np.argsort(positions @ axes[2], kind="stable")
    names = [f"frame {number + 1}" for number in order]
    found = stack_frame(names, positions[order], axes, (column_mm, row_mm), (file,))
    return replace(found, dicom_frames=tuple(order.tolist()) if (np.diff(order) != 1).any() else ())


def decimals(groups: list[Dataset], sequence: str, keyword: str, count: int, file: Path) -> Floats:
    """(N, count) the values of an element in all the sequences of one kind."""
    rows = [numbers(item, keyword, count, file) for group in groups for item in group.get(sequence) or []]
    return np.array([row for row in rows if row is not None]).reshape(-1, count)


def numbers(elements: Dataset, keyword: str, count: int, file: Path) -> Floats | None:
    """(count,) the numbers of an element; None where it is absent or empty; ImageError for other or infinite ones."""
    try:
        value = elements.get(keyword)
        if value is None or value == "":
            return None
        found = np.array(value, dtype=np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise ImageError(f"image: expected {count} numbers in {keyword}, {file} has others: {error}") from error
    if len(found) != count or not np.isfinite(found).all():
        raise ImageError(f"image: expected {count} numbers in {keyword}, {file} has {value}")
    return found
