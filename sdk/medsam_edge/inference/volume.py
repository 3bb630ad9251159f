"""Volumes: from each box's middle slice outwards, every slice prompted by the mask of the slice before.

A sweep upwards starts at the lowest middle slice, a sweep downwards at the highest. A sweep embeds a slice once and
decodes all objects that are alive on it together. Embeddings are cached by content, as those of pictures are: the
second sweep and later calls encode only what the cache had no room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import BoxesLike, check_boxes
from medsam_edge.errors import CancelledError, ImageError
from medsam_edge.geometry import FloatArray, Geometry
from medsam_edge.image import LoadedImage
from medsam_edge.inference.ahead import encoded_ahead
from medsam_edge.inference.embedding import Embedding
from medsam_edge.inference.predictor import Predictor, Prompts
from medsam_edge.inference.propagation import Rule, rule_of
from medsam_edge.inference.tiles import View, views
from medsam_edge.inference.timing import Stopwatch
from medsam_edge.intensity import Window, volume_to_display, warn_of_values
from medsam_edge.modality import Modality
from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import VolumeSegmentation
from medsam_edge.settings import Settings


def segment_volume(
    predictor: Predictor,
    loaded: LoadedImage,
    boxes: BoxesLike,
    modality: Modality | None,
    window: Window | None,
    settings: Settings,
) -> VolumeSegmentation:
    """Segment what each box of a volume holds; see `Segmenter.segment`. All far edges of the boxes are exclusive."""
    watch, rule, axis = Stopwatch(loaded.read_ms), rule_of(settings.compat), settings.array_axis
    voxels = _voxels(loaded)
    depth, height, width = voxels.shape
    checked = check_boxes(boxes, height, width, depth)
    rule.check_count(len(checked))
    display = _display(voxels, modality, window)
    slices = np.moveaxis(display, axis, 0)
    tracks = _tracks(checked, axis, len(slices))
    watch.lap("prepare")
    confidence = None
    if modality is None and predictor.model.classes and tracks:
        whole = predictor.embed(slices[tracks[0].middle], enlarging=rule.enlarging)
        modality, confidence = whole.class_prompt
        watch.add(whole.timings_ms)
    size = predictor.model.image_size
    flat = np.array([track.box for track in tracks], dtype=np.float32).reshape(-1, 4)
    sweeps = [
        _Sweeps(predictor, slices, view, modality, [tracks[index] for index in view.indices], rule, settings, watch)
        for view in views(flat, slices.shape[1], slices.shape[2], size, settings.tiling)
    ]
    _run(sweeps)
    slice_scores = _slice_scores(tracks, len(slices))
    return VolumeSegmentation(
        boxes=checked,
        scores=np.array([np.nanmean(row) for row in slice_scores], dtype=np.float32),
        slice_scores=slice_scores,
        masks=tuple(track.masks for track in tracks),
        display=display,
        axis=axis,
        modality=modality,
        modality_confidence=confidence,
        timings_ms=watch.timings_ms,
        overlap=settings.overlap,
        frame=loaded.frame,
    )


def _voxels(loaded: LoadedImage) -> npt.NDArray[Any]:
    """The pixels as (D, H, W); a single medical slice is a volume of one."""
    pixels = loaded.pixels
    if pixels.ndim == 2 and loaded.frame is not None and len(loaded.frame.spacing_mm) == 3:
        pixels = pixels[None]
    if pixels.ndim != 3 or 0 in pixels.shape or loaded.color:
        kind = f"{pixels.shape}{' in colour' if loaded.color else ''}"
        raise ImageError(f"image: boxes of shape (N, 6) are for volumes, (D, H, W); got {kind}")
    return pixels


def _display(voxels: npt.NDArray[Any], modality: Modality | None, window: Window | None) -> npt.NDArray[np.uint8]:
    """(D, H, W) uint8, read-only: the volume as the network is shown its slices, before resizing."""
    display = volume_to_display(voxels, modality, window)
    if display is voxels and display.flags.writeable:
        display = display.copy()  # the caller may change theirs
    display.setflags(write=False)
    warn_of_values(voxels, modality)
    return display


@dataclass
class _Track:
    """One object on its way through the slices first..last, both included.

    Attributes:
        label: its number, from 1.
        middle: the slice on which its box is the prompt.
        box: (4,) its box on a slice, in pixels of the slice.
        masks, scores: by slice, in pixels of the slice.
    """

    label: int
    first: int
    middle: int
    last: int
    box: FloatArray
    masks: dict[int, CroppedMask] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def alive(self, z: int, upward: bool) -> bool:
        return self.middle <= z <= self.last if upward else self.first <= z < self.middle

    def end(self, z: int) -> None:
        """Go no further than slice z; from the middle slice, in neither direction."""
        if z >= self.middle:
            self.last = z
        if z <= self.middle:
            self.first = z


def _tracks(boxes: FloatArray, axis: int, depth: int) -> list[_Track]:
    """One for each of the boxes (N, 6) in voxels, along an array axis of `depth` slices."""
    row, column = (other for other in range(3) if other != axis)
    flat = boxes[:, [2 - column, 2 - row, 5 - column, 5 - row]]
    first = np.minimum(np.floor(boxes[:, 2 - axis]).astype(int), depth - 1)
    last = np.maximum(np.ceil(boxes[:, 5 - axis]).astype(int) - 1, first)
    ends = zip(first.tolist(), last.tolist(), flat, strict=True)
    return [_Track(label, low, (low + high) // 2, high, box) for label, (low, high, box) in enumerate(ends, start=1)]


def _run(sweeps: Sequence[_Sweeps]) -> None:
    """All views, one after the other, upwards and then downwards."""
    orders = [(sweep, order, upward) for sweep in sweeps for order, upward in sweep.orders()]
    total, done = sum(len(order) for _, order, _ in orders), 0
    for sweep, order, upward in orders:
        sweep.go(order, upward, done, total)
        done += len(order)


@dataclass
class _Sweeps:
    """Both sweeps over one view of all slices (S, rows, columns), for the objects that are looked for in it."""

    predictor: Predictor
    slices: npt.NDArray[np.uint8]
    view: View
    modality: Modality | None
    tracks: Sequence[_Track]
    rule: Rule
    settings: Settings
    watch: Stopwatch

    def orders(self) -> list[tuple[list[int], bool]]:
        """The slices of the sweep upwards (True) and of the sweep downwards (False)."""
        up = {z for track in self.tracks for z in range(track.middle, track.last + 1)}
        down = {z for track in self.tracks for z in range(track.first, track.middle)}
        return [(sorted(up), True), (sorted(down, reverse=True), False)]

    def go(self, order: Sequence[int], upward: bool, done: int, total: int) -> None:
        """One sweep, after `done` of `total` slices."""
        position = {z: done + number for number, z in enumerate(order, start=1)}
        wanted = (z for z in order if self._alive(z, upward))  # lazy: an object may end before its slice's turn comes
        with closing(encoded_ahead(self._embed, wanted, self.settings.streams)) as embeddings:
            for z, embedding in embeddings:
                self._decode(z, embedding, self._alive(z, upward))
                answer = self.settings.progress(position[z], total) if self.settings.progress else None
                if isinstance(answer, (bool, np.bool_)) and not answer:
                    raise CancelledError(f"progress: asked to stop after {position[z]} of {total} slices")

    def _alive(self, z: int, upward: bool) -> list[_Track]:
        return [track for track in self.tracks if track.alive(z, upward)]

    def _embed(self, z: int) -> Embedding:
        rows, columns = self.view.where
        return self.predictor.embed(self.slices[z, rows, columns], self.modality, self.rule.enlarging)

    def _decode(self, z: int, embedding: Embedding, alive: Sequence[_Track]) -> None:
        if not alive:  # all of them ended while this slice was encoded ahead
            return
        prompts = np.stack([self._prompt(track, z, embedding.geometry) for track in alive])
        decoded = self.predictor.decode(embedding, Prompts(prompts, self.rule.everywhere))
        self.watch.add(embedding.timings_ms)
        self.watch.add(decoded.timings_ms)
        for track, mask, score in zip(alive, decoded.masks, decoded.scores.tolist(), strict=True):
            track.masks[z], track.scores[z] = mask.moved(self.view.top, self.view.left), score
            if self.settings.stop_when_empty and mask.empty:
                track.end(z)

    def _prompt(self, track: _Track, z: int, geometry: Geometry) -> FloatArray:
        """(4,) in network pixels: the box on the middle slice, elsewhere what follows from the mask before."""
        box = track.box - np.array([self.view.left, self.view.top] * 2, dtype=np.float32)
        if z == track.middle:
            prompt: FloatArray = self.rule.start(box[None], geometry)[0]
            return prompt
        before = track.masks[z - 1 if z > track.middle else z + 1].moved(-self.view.top, -self.view.left)
        return self.rule.follow(before, track.label, box, geometry)


def _slice_scores(tracks: Sequence[_Track], depth: int) -> FloatArray:
    """(N, S) float32, NaN where an object was not looked for."""
    scores = np.full((len(tracks), depth), np.nan, dtype=np.float32)
    for row, track in zip(scores, tracks, strict=True):
        row[list(track.scores)] = list(track.scores.values())
    return scores
