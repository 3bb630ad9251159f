"""Volumes: from each box's middle slice outwards, every slice prompted by the mask of the slice before.

Networks that take mask prompts get that mask, and the box around it; others the box alone.

A sweep upwards starts at the lowest middle slice, a sweep downwards at the highest. A sweep embeds a slice once and
decodes all objects that are alive on it together. Embeddings are cached by content, as those of pictures are: the
second sweep and later calls encode only what the cache had no room for.

Along all axes, an object goes its way along each of them, and what two of the three ways found is its mask. If the
network takes mask prompts, this mask prompts each slice along each axis once more, and the three vote again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError, warn
from medsam_edge.geometry import FloatArray
from medsam_edge.image import LoadedImage
from medsam_edge.inference.agreement import agree
from medsam_edge.inference.predictor import Predictor
from medsam_edge.inference.propagation import rule_of
from medsam_edge.inference.sweeps import Sweeps, Track, run, run_again, tracks_of
from medsam_edge.inference.tiles import View, views
from medsam_edge.inference.timing import Stopwatch
from medsam_edge.intensity import Padding, Window, volume_to_display, warn_of_values
from medsam_edge.modality import Modality
from medsam_edge.prompts import CheckedPrompts, Clicks, GivenPrompts, joined
from medsam_edge.results.result import VolumeSegmentation
from medsam_edge.settings import Settings


def segment_volume(
    predictor: Predictor,
    loaded: LoadedImage,
    request: GivenPrompts,
    modality: Modality | None,
    window: Window | None,
    settings: Settings,
) -> VolumeSegmentation:
    """Segment what each box of a volume holds; see `Segmenter.segment`. All far edges of the boxes are exclusive."""
    watch, axis = Stopwatch(loaded.read_ms), settings.array_axis
    voxels = _voxels(loaded)
    asked = request.check(*voxels.shape, as_given=settings.compat is not None)
    predictor.check(asked)
    follow = settings.follow or (request.boxes is None and bool(len(asked.boxes)))
    settings = replace(settings, follow=follow)
    if follow and "mask" not in predictor.model.prompts:
        warn("follow: the model takes no mask prompts, so that only boxes are followed from slice to slice")
    rule = rule_of(settings.compat, follow)
    rule.check_count(len(asked.boxes))
    display = volume_display(voxels, modality, window, loaded.padding)
    begun = [_split(box, own, axis) for box, own in zip(asked.boxes, asked.clicks, strict=True)]
    first, later = tuple(own for own, _ in begun), [own for _, own in begun]
    asked = replace(asked, clicks=first)
    ways = {along: tracks_of(asked, along, display.shape[along], follow) for along in settings.array_axes}
    tracks = ways[axis]
    watch.lap("prepare")
    confidence = None
    if modality is None and predictor.model.classes and tracks:
        middle = np.moveaxis(display, axis, 0)[tracks[0].middle]
        whole = predictor.embed(middle, enlarging=rule.enlarging)
        modality, confidence = whole.class_prompt
        watch.add(whole.timings_ms)
    sweeps = []
    for along, own in ways.items():
        slices = np.moveaxis(display, along, 0)
        flat = np.array([track.box for track in own], dtype=np.float32).reshape(-1, 4)
        sweeps += [
            Sweeps(predictor, slices, view, modality, [own[index] for index in view.indices], rule, settings, watch)
            for view in views(flat, slices.shape[1], slices.shape[2], predictor.model.image_size, settings.tiling)
        ]
    voted = len(ways) > 1
    twice = voted and "mask" in predictor.model.prompts
    slice_count = run(sweeps, 2 if twice else 1)
    if voted:
        agree(ways.values())
    if twice:
        run_again(sweeps, slice_count)
        agree(ways.values())
    result = VolumeSegmentation(
        boxes=asked.boxes,
        **_found(tracks, display.shape[axis], settings.keep_logits),
        display=display,
        axis=axis,
        modality=modality,
        modality_confidence=confidence,
        timings_ms=watch.timings_ms,
        overlap=settings.overlap,
        frame=loaded.frame,
        clicks=first,
        follow=follow,
    )
    return refine_volume(predictor, result, later) if any(map(len, later)) else result


def _split(box: FloatArray, clicks: Clicks, axis: int) -> tuple[Clicks, Clicks]:
    """The clicks that an object begins with (if it has no box, where it is clicked), and those that correct it."""
    on = clicks.points[clicks.labels == 1] if (clicks.labels == 1).any() else clicks.points
    begins = clicks.points[:, 2 - axis] == on[0, 2 - axis] if np.isnan(box[0]) else np.zeros(len(clicks), dtype=bool)
    return clicks.where(begins), clicks.where(~begins)


def refine_volume(predictor: Predictor, result: VolumeSegmentation, more: Sequence[Clicks]) -> VolumeSegmentation:
    """Decode the slices with further clicks again, and go on from them both ways; see `Segmenter.refine`.

    An object is followed until a slice on which somebody clicked, or on which its mask does not change.
    """
    watch, clicks = Stopwatch(), joined(result.clicks, more)
    slices = np.moveaxis(result.display, result.axis, 0)
    tracks = tracks_of(CheckedPrompts(result.boxes, clicks), result.axis, len(slices), result.follow)
    for index, track in enumerate(tracks):
        track.masks.update(result.masks[index])
        track.logits.update(result.logits[index])
        known = np.flatnonzero(~np.isnan(result.slice_scores[index])).tolist()
        track.scores.update({z: float(result.slice_scores[index, z]) for z in known})
    rule, settings = rule_of(None, result.follow), Settings(follow=result.follow)
    for track, own in zip(tracks, more, strict=True):
        if not len(own):
            continue
        top, left, bottom, right = track.logits[min(track.logits)].view
        view = View(top, left, bottom, right, (0,))
        sweep = Sweeps(predictor, slices, view, result.modality, [track], rule, settings, watch)
        for z in sorted(set(own.points[:, 2 - result.axis].astype(int).tolist())):
            sweep.correct(track, z)
    kept = any(len(own.values) for by_slice in result.logits for own in by_slice.values())
    return replace(result, **_found(tracks, len(slices), kept), clicks=clicks, timings_ms=watch.timings_ms)


def _found(tracks: Sequence[Track], depth: int, keep_logits: bool) -> dict[str, Any]:
    """What a result holds of the objects."""
    scores = np.full((len(tracks), depth), np.nan, dtype=np.float32)
    for row, track in zip(scores, tracks, strict=True):
        row[list(track.scores)] = list(track.scores.values())
    return {
        "scores": np.array([np.nanmean(row) for row in scores], dtype=np.float32),
        "slice_scores": scores,
        "masks": tuple(track.masks for track in tracks),
        "logits": tuple({z: own.seen_in(own.view, keep_logits) for z, own in track.logits.items()} for track in tracks),
    }


def _voxels(loaded: LoadedImage) -> npt.NDArray[Any]:
    """The pixels as (D, H, W); a single medical slice is a volume of one."""
    pixels = loaded.pixels
    if pixels.ndim == 2 and loaded.frame is not None and len(loaded.frame.spacing_mm) == 3:
        pixels = pixels[None]
    if pixels.ndim != 3 or 0 in pixels.shape or loaded.color:
        kind = f"{pixels.shape}{' in colour' if loaded.color else ''}"
        raise ImageError(f"image: boxes of shape (N, 6) are for volumes, (D, H, W); got {kind}")
    return pixels


def volume_display(
    voxels: npt.NDArray[Any], modality: Modality | None, window: Window | None, padding: Padding | None = None
) -> npt.NDArray[np.uint8]:
    """(D, H, W) uint8, read-only: the volume as the network is shown its slices, before resizing."""
    display = volume_to_display(voxels, modality, window, padding)
    if display is voxels and display.flags.writeable:
        display = display.copy()  # the caller may change theirs
    display.setflags(write=False)
    warn_of_values(voxels, modality, window)
    return display
