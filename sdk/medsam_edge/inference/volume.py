"""Volumes: from each box's middle slice outwards, every slice prompted by the mask before it.

One sweep goes up from the lowest middle slice, one down from the highest. A slice is embedded once a sweep and all
objects that are alive on it are decoded together. Embeddings are found again by content, as those of pictures are,
so that the second sweep and later calls encode only what the cache had no room for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import BoxesLike, are_volume_boxes, check_boxes
from medsam_edge.errors import CancelledError, ImageError
from medsam_edge.geometry import FloatArray, Geometry
from medsam_edge.image import LoadedImage
from medsam_edge.inference.ahead import encoded_ahead
from medsam_edge.inference.embedding import Embedding
from medsam_edge.inference.propagation import Rule, rule_of
from medsam_edge.inference.tiles import View, views
from medsam_edge.intensity import Window, volume_to_display, warn_of_values
from medsam_edge.modality import Modality
from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import VolumeSegmentation
from medsam_edge.settings import Settings

if TYPE_CHECKING:
    from medsam_edge.segmenter import Segmenter, _Clock

STAGES = ("read", "prepare", "encode", "decode", "restore")


def segment_volume(
    segmenter: Segmenter,
    loaded: LoadedImage,
    boxes: BoxesLike,
    modality: Modality | None,
    window: Window | None,
    settings: Settings,
    clock: _Clock,
) -> VolumeSegmentation:
    """Segment what each box of a volume holds; see `Segmenter.segment`."""
    voxels, axis, rule = _voxels(loaded), settings.array_axis, rule_of(settings.compat)
    depth, height, width = voxels.shape
    checked = check_boxes(rule.volume_boxes(boxes, axis), height, width, depth)
    display = volume_to_display(voxels, modality, window)
    if display is voxels:
        display = display.copy()  # the caller may change theirs
    display.setflags(write=False)
    warn_of_values(voxels, modality)
    clock.lap("prepare")
    slices = np.moveaxis(display, axis, 0)
    flat, spans = _across(checked, axis), _spans(checked, axis, len(slices))
    timings = Counter(dict.fromkeys(STAGES, 0.0) | clock.laps_ms)
    confidence = None
    if modality is None and segmenter.model.classes and spans:
        embedding = segmenter.embed_display(slices[spans[0].middle], enlarging=rule.enlarging)
        modality, confidence = embedding.class_prompt
        timings.update(embedding.timings_ms)
    sweeps = []
    size = segmenter.model.image_size
    for view in views(flat, slices.shape[1], slices.shape[2], size, settings.tiling):
        rows, columns = view.where
        part = slices[:, rows, columns]
        geometry = Geometry.of(part.shape[1:], size)
        starts = zip(view.own, rule.start(view.boxes(flat), geometry), strict=True)
        own = [_Object(index + 1, *spans[index], start) for index, start in starts]
        sweeps.append(_Sweeps(segmenter, part, view, modality, own, rule, geometry, settings, timings))
    _run(sweeps)
    objects = sorted((item for sweep in sweeps for item in sweep.objects), key=lambda item: item.label)
    slice_scores = _slice_scores(objects, len(slices))
    return VolumeSegmentation(
        boxes=checked,
        scores=np.array([np.nanmean(row) for row in slice_scores], dtype=np.float32),
        slice_scores=slice_scores,
        masks=tuple(item.masks for item in objects),
        display=display,
        axis=axis,
        modality=modality,
        modality_confidence=confidence,
        timings_ms=dict(timings),
        overlap=settings.overlap,
        frame=loaded.frame,
    )


def is_volume(loaded: LoadedImage, boxes: BoxesLike) -> bool:
    """Whether boxes are those of a volume; where there are none, whether the image is one (a last side of 3 is RGB)."""
    shape = loaded.pixels.shape
    with suppress(ValueError):  # rows of different lengths, of which `check_boxes` says what is wrong
        if np.size(boxes) == 0 and len(shape) == 3 and (shape[2] != 3 or loaded.color is False):
            return True
    return are_volume_boxes(boxes)


def _voxels(loaded: LoadedImage) -> npt.NDArray[Any]:
    """The pixels as (D, H, W); a single medical slice is a volume of one."""
    pixels = loaded.pixels
    if pixels.ndim == 2 and loaded.frame is not None and len(loaded.frame.spacing_mm) == 3:
        pixels = pixels[None]
    if pixels.ndim != 3 or 0 in pixels.shape or loaded.color:
        kind = f"{pixels.shape}{' in colour' if loaded.color else ''}"
        raise ImageError(f"image: boxes of shape (N, 6) are for volumes, (D, H, W); got {kind}")
    return pixels


def _slice_scores(objects: Sequence[_Object], depth: int) -> FloatArray:
    """(N, S), NaN where an object was not looked for."""
    scores = np.full((len(objects), depth), np.nan, dtype=np.float32)
    for row, item in zip(scores, objects, strict=True):
        row[list(item.scores)] = list(item.scores.values())
    return scores


class _Span(NamedTuple):
    """Slices of a box, all included."""

    first: int
    middle: int
    last: int


@dataclass
class _Object:
    """One box, in pixels of its view, on its way through the slices first..last; `stop` moves them closer."""

    label: int
    first: int
    middle: int
    last: int
    start: FloatArray
    masks: dict[int, CroppedMask] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def alive(self, z: int, upward: bool) -> bool:
        return self.middle <= z <= self.last if upward else self.first <= z < self.middle

    def prompt(self, z: int, rule: Rule, geometry: Geometry) -> FloatArray:
        if z == self.middle:
            return self.start
        before = self.masks[z - 1 if z > self.middle else z + 1]
        return rule.follow(before, self.label, self.start, geometry)

    def stop(self, z: int) -> None:
        """Go no further than slice z; when that is the middle, in neither direction."""
        if z >= self.middle:
            self.last = z
        if z <= self.middle:
            self.first = z


def _across(boxes: FloatArray, axis: int) -> FloatArray:
    """Boxes (N, 6) in voxels → (N, 4) on the slices along an array axis."""
    row, column = (other for other in range(3) if other != axis)
    return boxes[:, [2 - column, 2 - row, 5 - column, 5 - row]]


def _spans(boxes: FloatArray, axis: int, depth: int) -> list[_Span]:
    """Along an array axis."""
    first = np.minimum(np.floor(boxes[:, 2 - axis]).astype(int), depth - 1)
    last = np.maximum(np.ceil(boxes[:, 5 - axis]).astype(int) - 1, first)
    return [_Span(*ends) for ends in zip(first.tolist(), ((first + last) // 2).tolist(), last.tolist(), strict=True)]


def _run(sweeps: Sequence[_Sweeps]) -> None:
    ways = [(sweep, order, upward) for sweep in sweeps for order, upward in sweep.ways()]
    total, done = sum(len(order) for _, order, _ in ways), 0
    for sweep, order, upward in ways:
        sweep.go(order, upward, done, total)
        done += len(order)
    for sweep in sweeps:
        sweep.place()


@dataclass
class _Sweeps:
    """Both sweeps over a view of the slices (S, rows, columns); masks and scores go to the objects, milliseconds to
    `timings`."""

    segmenter: Segmenter
    slices: npt.NDArray[np.uint8]
    view: View
    modality: Modality | None
    objects: Sequence[_Object]
    rule: Rule
    geometry: Geometry
    settings: Settings
    timings: Counter[str]

    def ways(self) -> list[tuple[list[int], bool]]:
        """The slices on the way up, and on the way down."""
        up = {z for item in self.objects for z in range(item.middle, item.last + 1)}
        down = {z for item in self.objects for z in range(item.first, item.middle)}
        return [(sorted(up), True), (sorted(down, reverse=True), False)]

    def go(self, order: Sequence[int], upward: bool, done: int, total: int) -> None:
        """One way, after `done` of `total` slices."""
        position = {z: done + number for number, z in enumerate(order, start=1)}
        wanted = (z for z in order if any(item.alive(z, upward) for item in self.objects))  # asked when its turn comes
        with closing(encoded_ahead(self._embed, wanted, self.settings.streams)) as embeddings:
            for z, embedding in embeddings:
                self._decode(z, embedding, [item for item in self.objects if item.alive(z, upward)])
                answer = self.settings.progress(position[z], total) if self.settings.progress else None
                if isinstance(answer, (bool, np.bool_)) and not answer:
                    raise CancelledError(f"progress: asked to stop after {position[z]} of {total} slices")

    def place(self) -> None:
        """The masks, from pixels of the view to pixels of the slices."""
        for item in self.objects:
            item.masks = {z: mask.moved(self.view.top, self.view.left) for z, mask in item.masks.items()}

    def _embed(self, z: int) -> Embedding:
        return self.segmenter.embed_display(self.slices[z], self.modality, self.rule.enlarging)

    def _decode(self, z: int, embedding: Embedding, alive: Sequence[_Object]) -> None:
        if not alive:  # they have all ended while this slice was encoded ahead
            return
        prompts = np.stack([item.prompt(z, self.rule, self.geometry) for item in alive])
        found = self.rule.decode(self.segmenter, embedding, prompts)
        self.timings.update(found.timings_ms)
        for item, mask, score in zip(alive, found.masks, found.scores.tolist(), strict=True):
            item.masks[z], item.scores[z] = mask, score
            if self.settings.stop_when_empty and mask.empty:
                item.stop(z)
