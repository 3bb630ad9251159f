"""Masks as runs, on the slices of a result or across them, and results as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from medsam_edge.results.mask import EMPTY, CroppedMask, cropped
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.server import schemas

Result = Segmentation | VolumeSegmentation


@dataclass(frozen=True, eq=False)
class Kept:
    """A result that the server keeps.

    Attributes:
        image: id of its image.
        client: who asked for it.
        parent: the result that it corrects, if any.
        shown: modality and window as asked for.
        warnings: of the sdk.
    """

    image: str
    client: str
    result: Result
    shown: schemas.Shown
    parent: str | None = None
    warnings: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: uuid4().hex)

    @cached_property
    def nbytes(self) -> int:
        """Of masks and logits; the picture is the image's."""
        result = self.result
        if isinstance(result, Segmentation):
            arrays = [mask.pixels for mask in result.masks] + [own.values for own in result.logits]
        else:
            arrays = [mask.pixels for by_slice in result.masks for mask in by_slice.values()]
            arrays += [own.values for by_slice in result.logits for own in by_slice.values()]
        return sum(array.nbytes for array in arrays)


def axis_of(result: Result) -> int:
    return result.axis if isinstance(result, VolumeSegmentation) else 0


def slices_of(result: Result, index: int) -> Iterator[tuple[int, CroppedMask, float | None]]:
    """The slices on which an object is, in order: number, mask and score. A picture is slice 0."""
    if isinstance(result, Segmentation):
        if not result.masks[index].empty:
            yield 0, result.masks[index], float(result.scores[index])
        return
    for z, mask in sorted(result.masks[index].items()):
        if not mask.empty:
            score = float(result.slice_scores[index, z])
            yield z, mask, None if np.isnan(score) else score


def paint(target: npt.NDArray[Any], result: Result, index: int, value: int) -> None:
    """Set an object's pixels in an array of the image's shape."""
    planes = np.moveaxis(target, axis_of(result), 0) if target.ndim == 3 else target[None]
    for z, mask, _ in slices_of(result, index):
        planes[z][mask.where][mask.pixels] = value


def paint_part(target: npt.NDArray[Any], corner: Sequence[int], result: VolumeSegmentation, index: int) -> None:
    """Set an object's voxels in a part of the volume that begins at `corner` and holds the whole object."""
    planes = np.moveaxis(target, result.axis, 0)
    top, left = (own for axis, own in enumerate(corner) if axis != result.axis)
    for z, mask, _ in slices_of(result, index):
        planes[z - corner[result.axis]][mask.moved(-top, -left).where][mask.pixels] = 1


def section(result: Result, index: int, number: int, axis: int) -> CroppedMask:
    """An object's mask on a slice along any axis."""
    own = axis_of(result)
    if axis == own or isinstance(result, Segmentation):
        return next((mask for z, mask, _ in slices_of(result, index) if z == number), EMPTY)
    rest = [side for side in range(3) if side != axis]
    plane = np.zeros([result.shape[side] for side in rest], dtype=bool)
    lines = np.moveaxis(plane, rest.index(own), 0)  # one line of the plane for each slice of the result
    along = [side for side in range(3) if side != own].index(axis)
    for z, mask, _ in slices_of(result, index):
        first, last = (mask.top, mask.left)[along], (mask.top, mask.left)[along] + mask.pixels.shape[along]
        if first <= number < last:
            lines[z, mask.where[1 - along]] = mask.pixels.take(number - first, axis=along)
    return cropped(plane)


def extent_of(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    """(3, 2) low and high of what is true in a (D, H, W) mask, high exclusive; None of nothing."""
    lines = [np.flatnonzero(mask.any(axis=tuple(at for at in range(3) if at != axis))) for axis in range(3)]
    return None if not lines[0].size else np.array([[own[0], own[-1] + 1] for own in lines])


def run_lengths(pixels: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of equal values in row order, background first; [] of no pixels."""
    flat = pixels.ravel()
    if not flat.size:
        return []
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts: list[int] = np.diff(edges, prepend=0, append=flat.size).tolist()
    return [0, *counts] if flat[0] else counts


def from_runs(counts: list[int], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The inverse; ValueError unless the runs fill the rectangle."""
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"counts: expected runs that fill {height} x {width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(height, width)


def region(z: int, mask: CroppedMask, score: float | None) -> schemas.Region:
    height, width = mask.pixels.shape
    return schemas.Region(
        slice=z,
        top=mask.top,
        left=mask.left,
        height=height,
        width=width,
        counts=run_lengths(mask.pixels),
        score=score,
    )


def described(kept: Kept) -> schemas.SegmentationInfo:
    """A result as JSON."""
    result = kept.result
    return schemas.SegmentationInfo(
        id=kept.id,
        image=kept.image,
        parent=kept.parent,
        axis=axis_of(result),
        modality=result.modality and result.modality.value,
        modality_confidence=result.modality_confidence,
        objects=[described_object(result, index) for index in range(len(result))],
        timings_ms=dict(result.timings_ms),
        warnings=list(kept.warnings),
    )


def described_object(result: Result, index: int) -> schemas.Object:
    slices, box, clicks = list(slices_of(result, index)), result.boxes[index], result.clicks[index]
    return schemas.Object(
        index=index,
        box=None if np.isnan(box[0]) else box.tolist(),
        score=float(result.scores[index]),
        size=sum(int(mask.pixels.sum()) for _, mask, _ in slices),
        clicks=[
            schemas.Click(point=point, label=label)
            for point, label in zip(clicks.points.tolist(), clicks.labels.tolist(), strict=True)
        ],
        regions=[region(z, mask, score) for z, mask, score in slices],
    )
