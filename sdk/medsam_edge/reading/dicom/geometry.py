"""Where planes lie in the patient, and whether they make one regular volume."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
POSITION = ((0x0020, 0x9113), (0x0020, 0x0032), 3)
ORIENTATION = ((0x0020, 0x9116), (0x0020, 0x0037), 6)
SPACING = ((0x0028, 0x9110), (0x0028, 0x0030), 2)
SLOPE = ((0x0028, 0x9145), (0x0028, 0x1053), 1)
INTERCEPT = ((0x0028, 0x9145), (0x0028, 0x1052), 1)
"""What functional groups say about a frame: the sequence, the tag in it, how many numbers."""
WITHIN = 100
"""Bytes from a sequence's tag to the one wanted, at most: headers, and two short numbers."""
Place = tuple[tuple[int, int], tuple[int, int], int]


def plane_axes(orientation: npt.ArrayLike, source: str) -> Floats:
    """Image Orientation (Patient), six direction cosines → (3, 3), its rows along x, y and the normal of the plane.

    Raises:
        ImageError: the two directions are not of length 1 and at right angles.
    """
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
    """The frame of planes that lie one behind the other, in the order given.

    Args:
        names: of the N ≥ 2 planes, for messages.
        positions: (N, 3) Image Position (Patient) in mm, the centre of each plane's first pixel.
        axes: from `plane_axes`; the third axis of the frame points from the first plane to the last.
        spacing_mm: of pixels, along x and y. That of the slices comes from the positions.
        files: the frame's `dicom_files`.

    Raises:
        ImageError: two planes in one place, steps of different lengths, or planes shifted sideways.
    """
    places = positions @ axes[2]
    normal = axes[2] * (1.0 if places[-1] >= places[0] else -1.0)
    places = positions @ normal
    _check_steps(names, np.diff(places))
    _check_drift(names, positions - positions[0] - np.outer(places - places[0], normal), spacing_mm)
    step = float(places[-1] - places[0]) / (len(places) - 1)
    direction = np.stack([axes[0], axes[1], normal], axis=1).ravel().tolist()
    return Frame((*spacing_mm, step), tuple(positions[0].tolist()), tuple(direction), files)


def _check_steps(names: Sequence[str], steps: Floats) -> None:
    same = np.flatnonzero(np.abs(steps) < SAME_PLACE_MM)
    if same.size:
        first = int(same[0])
        raise ImageError(f"image: expected one slice in each place, {names[first]} and {names[first + 1]} share one")
    usual = float(np.median(steps))
    odd = np.abs(steps - usual) > max(STEP_SHARE * abs(usual), STEP_MM)
    if odd.any():
        worst = int(np.argmax(np.abs(steps - usual)))
        raise ImageError(
            f"image: expected slices at equal distances, they are {usual:.6g} mm apart but {steps[worst]:.6g} mm "
            f"between {names[worst]} and {names[worst + 1]}"
        )


def _check_drift(names: Sequence[str], aside: Floats, spacing_mm: tuple[float, float]) -> None:
    lengths = np.linalg.norm(aside, axis=1)
    if lengths.max() > DRIFT_PIXELS * min(spacing_mm):
        worst = int(np.argmax(lengths))
        raise ImageError(
            f"image: expected slices straight behind each other, {names[worst]} lies {lengths[worst]:.6g} mm beside "
            f"{names[0]} (a tilted gantry?); resample them first"
        )


def functional_frame(file: Path, frames: int) -> Frame | None:
    """The frame of an enhanced object's frames, from its functional groups; None where they tell no positions.

    SimpleITK takes the first frame's plane and rescale for all of them, and does not show these groups.
    """
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        own = data.find(struct.pack("<HH", 0x5200, 0x9230))
        if own < 0:
            return None
        shared = data.find(struct.pack("<HH", 0x5200, 0x9229), 0, own)
        groups = data[own if shared < 0 else shared : data.find(struct.pack("<HH", 0x7FE0, 0x0010), own)]
    common = {}
    for name, place in (
        ("orientation", ORIENTATION),
        ("pixel spacing", SPACING),
        ("rescale slope", SLOPE),
        ("intercept", INTERCEPT),
    ):
        values = common[name] = _decimals(groups, place, file)
        tolerance = SAME if place in (ORIENTATION, SPACING) else 0.0
        if len(values) and (np.ptp(values, axis=0).max() > tolerance or len(values) not in (1, frames)):
            raise ImageError(f"image: expected frames of one {name}, those of {file} differ")
    positions, orientations, spacings = (
        _decimals(groups, POSITION, file),
        common["orientation"],
        common["pixel spacing"],
    )
    if not len(positions):
        return None
    if len(positions) != frames or not len(orientations) or not len(spacings):
        raise ImageError(
            f"image: expected a position for each of {frames} frames, one orientation and one pixel spacing; "
            f"{file} has {len(positions)}, {len(orientations)} and {len(spacings)}"
        )
    row_mm, column_mm = spacings[0].tolist()
    names = [f"frame {number}" for number in range(1, frames + 1)]
    return stack_frame(names, positions, plane_axes(orientations[0], str(file)), (column_mm, row_mm), (file,))


def _decimals(groups: bytes, place: Place, file: Path) -> Floats:
    """(N, count) the values of a decimal tag in all sequences of one kind, with its type (explicit) or without."""
    sequence, tag, count = place
    before, wanted = (re.escape(struct.pack("<HH", *pair)) for pair in (sequence, tag))
    found = re.finditer(before + rb".{0,%d}?" % WITHIN + wanted + rb"(?:DS(..)|(..)\0\0)", groups, re.DOTALL)
    texts = [groups[item.end() : item.end() + int.from_bytes(item[1] or item[2], "little")] for item in found]
    rows = [parse_decimals(text.decode("ascii", "replace"), count, f"{file} in its frames") for text in texts]
    return np.array(rows, dtype=np.float64).reshape(-1, count)


def parse_decimals(text: str, count: int, source: str) -> Floats:
    """DICOM's "1\\2\\3" → (count,).

    Raises:
        ImageError: another count, or no finite numbers.
    """
    try:
        numbers = np.array([float(part) for part in text.strip(" \0").split("\\")])
    except ValueError as error:
        raise ImageError(f"image: expected {count} numbers, {source} has {text!r}") from error
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ImageError(f"image: expected {count} numbers, {source} has {text!r}")
    return numbers
