"""The way of objects through the slices of a volume: sweeps up and down, and corrections that spread."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import BoxError, CancelledError
from medsam_edge.geometry import FloatArray, Geometry
from medsam_edge.inference.ahead import encoded_ahead
from medsam_edge.inference.embedding import Embedding
from medsam_edge.inference.predictor import Predictor, Prompts
from medsam_edge.inference.prompting import box_around, clicks_in, prior_in
from medsam_edge.inference.propagation import Rule
from medsam_edge.inference.tiles import View
from medsam_edge.inference.timing import Stopwatch
from medsam_edge.modality import Modality
from medsam_edge.prompts import CheckedPrompts, Clicks
from medsam_edge.results.mask import CroppedMask, Logits
from medsam_edge.settings import Settings

UNCHANGED = 0.98
"""DSC of two masks from which on a correction need not go further."""


@dataclass
class Track:
    """One object on its way through the slices first..last, both included.

    Attributes:
        label: its number, from 1.
        middle: the slice on which its box is the prompt.
        box: (4,) its box on a slice, in pixels of the slice; NaN where there is none.
        extent: first and last slice of its box; `first` and `last` change where it ends.
        clicks: by slice, x, y of the slice.
        given: (S, rows, columns), the caller's mask prompt on each slice, if any.
        masks, logits, scores: by slice, masks in pixels of the slice.
    """

    label: int
    first: int
    middle: int
    last: int
    box: FloatArray
    extent: tuple[int, int] = (0, 0)
    clicks: dict[int, Clicks] = field(default_factory=dict)
    given: npt.NDArray[np.generic] | None = None
    masks: dict[int, CroppedMask] = field(default_factory=dict)
    logits: dict[int, Logits] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def boxed(self) -> bool:
        return not np.isnan(self.box[0])

    def alive(self, z: int, upward: bool) -> bool:
        return self.middle <= z <= self.last if upward else self.first <= z < self.middle

    def end(self, z: int) -> None:
        """Go no further than slice z; from the middle slice, in neither direction."""
        if z >= self.middle:
            self.last = z
        if z <= self.middle:
            self.first = z


def tracks_of(asked: CheckedPrompts, axis: int, depth: int, follow: bool) -> list[Track]:
    """One for each of the boxes (N, 6) in voxels, along an array axis of `depth` slices.

    Raises:
        BoxError: a box to follow from that is not on one slice, or, of boxes that are taken as given, one whose slices
            run backwards or whose middle slice is not in the volume.
    """
    row, column = (other for other in range(3) if other != axis)
    tracks = []
    for label, (box, clicks) in enumerate(zip(asked.boxes, asked.clicks, strict=True), start=1):
        clicked = np.unique(clicks.points[:, 2 - axis].astype(int)).tolist()
        flat = box[[2 - column, 2 - row, 5 - column, 5 - row]]
        if np.isnan(box[0]):
            low = high = clicked[0]
        else:
            low, high = int(np.floor(box[2 - axis])), int(np.ceil(box[5 - axis])) - 1
        middle = int((high - low) / 2 + low)  # of all its slices, as the scripts have it: also those beyond the volume
        if high < low or not 0 <= middle < depth:
            raise BoxError(
                f"boxes[{label - 1}]: expected a middle slice from 0 to {depth - 1} along axis {axis}, "
                f"the box has slices {low} to {high}"
            )
        low, high = max(low, 0), min(high, depth - 1)
        if follow and low != high:
            raise BoxError(f"boxes[{label - 1}]: expected a box on one slice along axis {axis}, got {low} to {high}")
        if follow:
            low, high = 0, depth - 1
        on_slices = {z: clicks.on_slice(z, axis) for z in clicked}
        given = np.moveaxis(asked.priors[label - 1], axis, 0) if asked.priors else None
        tracks.append(Track(label, low, middle, high, flat, (low, high), on_slices, given))
    return tracks


def run(sweeps: Sequence[Sweeps], rounds: int = 1) -> int:
    """All views, one after the other, upwards and then downwards; returns how many slices that are.

    Args:
        rounds: how often the slices are counted in the total that progress is told, for rounds that follow.
    """
    orders = [(sweep, order, upward) for sweep in sweeps for order, upward in sweep.orders()]
    slices, done = sum(len(order) for _, order, _ in orders), 0
    for sweep, order, upward in orders:
        sweep.go(order, upward, done, rounds * slices)
        done += len(order)
    return slices


def run_again(sweeps: Sequence[Sweeps], slices: int) -> None:
    """The second of two rounds of so many slices: every slice once more, prompted by what was found on it."""
    done = slices
    for sweep in sweeps:
        sweep.again(done, 2 * slices)
        done += sum(len(order) for order, _ in sweep.orders())


@dataclass
class Sweeps:
    """Both sweeps over one view of all slices (S, rows, columns), for the objects that are looked for in it."""

    predictor: Predictor
    slices: npt.NDArray[np.uint8]
    view: View
    modality: Modality | None
    tracks: Sequence[Track]
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
                self._report(position[z], total)

    def again(self, done: int, total: int) -> None:
        """Decode each object anew on every slice where it has a mask, prompted by that mask and the box around it."""
        wanted = sorted({z for track in self.tracks for z, mask in track.masks.items() if not mask.empty})
        with closing(encoded_ahead(self._embed, wanted, self.settings.streams)) as embeddings:
            for position, (z, embedding) in enumerate(embeddings, start=done + 1):
                tracks = [track for track in self.tracks if z in track.masks and not track.masks[z].empty]
                self._segment(z, embedding, tracks, [z] * len(tracks))
                self._report(position, total)

    def _report(self, done: int, total: int) -> None:
        answer = self.settings.progress(done, total) if self.settings.progress else None
        if isinstance(answer, (bool, np.bool_)) and not answer:
            raise CancelledError(f"progress: asked to stop after {done} of {total} slices")

    def _alive(self, z: int, upward: bool) -> list[Track]:
        return [track for track in self.tracks if track.alive(z, upward)]

    def _embed(self, z: int) -> Embedding:
        rows, columns = self.view.where
        return self.predictor.embed(self.slices[z, rows, columns], self.modality, self.rule.enlarging)

    def _decode(self, z: int, embedding: Embedding, alive: Sequence[Track]) -> None:
        if not alive:  # all of them ended while this slice was encoded ahead
            return
        self._segment(z, embedding, alive, [self._source(track, z, z - track.middle) for track in alive])
        for track in alive:
            if self._ended(track, z):
                track.end(z)

    def _source(self, track: Track, z: int, direction: int) -> int | None:
        """The slice whose mask prompts slice z, on the way up (direction > 0) or down; None where the way begins.

        It is the slice before; if that is empty and the object is followed, the one before it.
        """
        if direction == 0:
            return None
        step = 1 if direction > 0 else -1
        further = track.masks.get(z - 2 * step)
        skips = self.settings.follow and track.masks[z - step].empty and further is not None and not further.empty
        return z - 2 * step if skips else z - step

    @property
    def _takes_masks(self) -> bool:
        return "mask" in self.predictor.model.prompts and not self.rule.everywhere

    def _ended(self, track: Track, z: int) -> bool:
        """Whether an object goes no further than slice z: after an empty slice if asked for, after two if followed."""
        if not track.masks[z].empty:
            return False
        if self.settings.stop_when_empty or not self.settings.follow:
            return self.settings.stop_when_empty
        return z == track.middle or track.masks[z - 1 if z > track.middle else z + 1].empty

    def _segment(self, z: int, embedding: Embedding, tracks: Sequence[Track], before: Sequence[int | None]) -> None:
        """Decode objects on slice z, each prompted by its mask on another slice, or by its box and clicks alone."""
        geometry = embedding.geometry
        boxes = np.stack([self._box(track, z, other, geometry) for track, other in zip(tracks, before, strict=True)])
        clicks = [clicks_in(self.view, track.clicks.get(z, Clicks.none(2)), geometry) for track in tracks]
        priors = {}
        for number, (track, other) in enumerate(zip(tracks, before, strict=True)):
            if track.given is not None and track.given[z].any():
                priors[number] = prior_in(self.view, track.given[z], geometry)
            elif other is not None and not track.masks[other].empty and self._takes_masks:
                priors[number] = prior_in(self.view, self._so_far(track, other), geometry)
        decoded = self.predictor.decode(embedding, Prompts(boxes, self.rule.everywhere, clicks, priors))
        self.watch.add(embedding.timings_ms)
        self.watch.add(decoded.timings_ms)
        for number, track in enumerate(tracks):
            track.masks[z] = decoded.masks[number].moved(self.view.top, self.view.left)
            track.logits[z] = decoded.logits[number].seen_in(self.view.place)
            track.scores[z] = float(decoded.scores[number])

    def correct(self, track: Track, z: int) -> None:
        """Decode a slice with clicks again, then follow the object both ways, up to slices that a person has shaped."""
        self._segment(z, self._embed(z), [track], [z if z in track.masks else None])
        theirs = {*track.clicks, *([track.middle] if self.settings.follow and track.boxed else [])}
        for step in (1, -1):
            at, ended = z + step, False
            while track.first <= at <= track.last and at not in theirs and not ended:
                former = track.masks.get(at)
                self._segment(at, self._embed(at), [track], [self._source(track, at, step)])
                unchanged = former is not None and _same(former, track.masks[at])
                ended = unchanged or (self.settings.follow and track.masks[at].empty and track.masks[at - step].empty)
                at += step

    def _box(self, track: Track, z: int, before: int | None, geometry: Geometry) -> FloatArray:
        """(4,) in network pixels: the box on the middle slice, elsewhere what follows from the mask before."""
        corner = np.array([self.view.left, self.view.top] * 2, dtype=np.float32)
        if before is None:
            started: FloatArray = self.rule.start((track.box - corner)[None], geometry)[0]
            return started
        mask = track.masks[before]
        own = before == z
        if own and z in track.clicks:  # a correction: the box holds the mask and the clicks on the object
            around = box_around(mask, track.clicks[z], self.slices.shape[1:])
            corrected: FloatArray = self.rule.start((around - corner)[None], geometry)[0]
            return corrected
        low, high = track.extent
        along = 0.0 if own else (2 * z - low - high) / (high - low + 1)  # its own mask says how wide it is
        moved = mask.moved(-self.view.top, -self.view.left)
        return self.rule.follow(moved, track.label, track.box - corner, geometry, along)

    def _so_far(self, track: Track, z: int) -> Logits | npt.NDArray[np.bool_]:
        """An object on slice z: its logits in this view, or else its mask (rows, columns)."""
        own = track.logits[z]
        if own.values.size and own.view == self.view.place:
            return own
        mask = np.zeros(self.slices.shape[1:], dtype=bool)
        mask[track.masks[z].where] = track.masks[z].pixels
        return mask


def _same(one: CroppedMask, other: CroppedMask) -> bool:
    """Whether two masks are nearly equal: a DSC of at least `UNCHANGED`."""
    if one.empty or other.empty:
        return one.empty and other.empty
    top, left = min(one.top, other.top), min(one.left, other.left)
    bottom = max(own.where[0].stop for own in (one, other))
    right = max(own.where[1].stop for own in (one, other))
    planes = np.zeros((2, bottom - top, right - left), dtype=bool)
    for plane, own in zip(planes, (one, other), strict=True):
        plane[own.moved(-top, -left).where] = own.pixels
    return bool(2 * (planes[0] & planes[1]).sum() >= UNCHANGED * planes.sum())
