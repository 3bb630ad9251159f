"""Pictures: each box is decoded in the view that shows it large enough; all masks go into one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import LateArray, LoadedImage
from medsam_edge.inference.predictor import Predictor
from medsam_edge.inference.prompting import box_around, prompts_in
from medsam_edge.inference.propagation import rule_of
from medsam_edge.inference.tiles import View, views
from medsam_edge.inference.timing import Stopwatch
from medsam_edge.intensity import Window, to_display, warn_of_values
from medsam_edge.modality import Modality
from medsam_edge.prompts import CheckedPrompts, Clicks, GivenPrompts, joined
from medsam_edge.results.mask import CroppedMask, Logits
from medsam_edge.results.result import Segmentation
from medsam_edge.settings import Settings


def segment_picture(
    predictor: Predictor,
    loaded: LoadedImage,
    request: GivenPrompts,
    modality: Modality | None,
    window: Window | None,
    settings: Settings,
) -> Segmentation:
    """Segment what each box of a picture holds; see `Segmenter.segment`."""
    watch, rule = Stopwatch(loaded.read_ms), rule_of(settings.compat)
    display = picture_display(loaded, modality, window)
    late = loaded.whole and LateArray(loaded.whole.shape, partial(_whole_display, loaded.whole, modality, window))
    height, width = (late or display).shape[:2]
    size = predictor.model.image_size
    asked = request.check(height, width)
    predictor.check(asked)
    shown = views(asked.boxes, height, width, size, settings.tiling)
    watch.lap("prepare")
    if late and (max(display.shape) < 2 * size or any(view.is_tile for view in shown)):
        display, late = late.make(), None  # reduced, the picture shows too little
        watch.lap("read")
    confidence = None
    if modality is None and predictor.model.classes and any(view.is_tile for view in shown):
        whole = predictor.embed(display)  # a tile is of the modality that the whole picture is
        modality, confidence = whole.class_prompt
        watch.add(whole.timings_ms)
    masks, logits = dict[int, CroppedMask](), dict[int, Logits]()
    scores = np.zeros(len(asked.boxes), dtype=np.float32)
    for view in shown:
        embedding = predictor.embed(display[view.where], modality, rule.enlarging, late.shape if late else None)
        decoded = predictor.decode(embedding, prompts_in(view, asked, embedding.geometry, rule))
        for index, mask, own in zip(view.indices, decoded.masks, decoded.logits, strict=True):
            masks[index] = mask.moved(view.top, view.left)
            logits[index] = own.seen_in(view.place, settings.keep_logits)
        scores[list(view.indices)] = decoded.scores
        watch.add(embedding.timings_ms)
        watch.add(decoded.timings_ms)
    if modality is None and shown:  # then there is one view, the whole picture
        modality, confidence = embedding.class_prompt
    order = range(len(asked.boxes))
    return Segmentation(
        boxes=asked.boxes,
        scores=scores,
        masks=tuple(masks[index] for index in order),
        shown=late or display,
        modality=modality,
        timings_ms=watch.timings_ms,
        overlap=settings.overlap,
        frame=loaded.frame,
        modality_confidence=confidence,
        logits=tuple(logits[index] for index in order),
        clicks=asked.clicks,
    )


def refine_picture(predictor: Predictor, result: Segmentation, more: Sequence[Clicks]) -> Segmentation:
    """Decode the objects that have further clicks again, with their masks so far; see `Segmenter.refine`."""
    watch, rule = Stopwatch(), rule_of(None)
    masks, scores, logits = list(result.masks), result.scores.copy(), list(result.logits)
    clicks = joined(result.clicks, more)
    for index in (index for index, own in enumerate(more) if len(own)):
        view = View(*logits[index].view, (0,))
        boxed = not np.isnan(result.boxes[index, 0])
        box = result.boxes[index] if boxed else box_around(masks[index], clicks[index], result.shape)
        kept = logits[index].values.size > 0
        so_far = CheckedPrompts(box[None], (clicks[index],), (logits[index] if kept else result.mask(index),))
        embedding = predictor.embed(result.display[view.where], result.modality, rule.enlarging)
        decoded = predictor.decode(embedding, prompts_in(view, so_far, embedding.geometry, rule))
        masks[index] = decoded.masks[0].moved(view.top, view.left)
        logits[index] = decoded.logits[0].seen_in(view.place, kept)
        scores[index] = decoded.scores[0]
        watch.add(embedding.timings_ms)
        watch.add(decoded.timings_ms)
    changes = {"masks": tuple(masks), "scores": scores, "logits": tuple(logits), "clicks": clicks}
    return replace(result, timings_ms=watch.timings_ms, **changes)


def _whole_display(whole: LateArray, modality: Modality | None, window: Window | None) -> npt.NDArray[np.uint8]:
    return picture_display(LoadedImage(whole.make()), modality, window)


def _what_it_is(shape: tuple[int, ...]) -> str:
    """A hint at what an array of another shape probably is."""
    if len(shape) == 3 and shape[2] in (1, 2, 4):
        kind = {1: "one channel", 2: "grey with alpha", 4: "RGB with alpha (RGBA)"}[shape[2]]
        return f": {kind}; take image[..., {':3' if shape[2] == 4 else '0'}]"
    volume = "; `segment` takes volumes with boxes (N, 6): x0, y0, z0, x1, y1, z1" if len(shape) == 3 else ""
    if len(shape) == 3 and shape[0] in (1, 2, 3, 4):
        first = "np.moveaxis(image, 0, -1)" if shape[0] == 3 else "image[0] or image[:3]"
        return f": channels first; take {first}{volume}"
    if len(shape) == 4:
        return ": a batch, or a volume with channels; take one picture"
    return volume


def picture_display(loaded: LoadedImage, modality: Modality | None, window: Window | None) -> npt.NDArray[np.uint8]:
    """(H, W) or (H, W, 3) uint8, read-only: the picture as the network is shown it, before resizing.

    Raises:
        ImageError: no picture, or what `medsam_edge.intensity.to_display` refuses.
    """
    shape = loaded.pixels.shape
    if 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3 and loaded.color is not False)):
        raise ImageError(f"image: expected (H, W) or (H, W, 3), got {shape}{_what_it_is(shape)}")
    display = to_display(loaded.pixels, modality, window)
    if display is loaded.pixels and display.flags.writeable:
        display = display.copy()  # the caller may change theirs; an embedding never changes
    display.setflags(write=False)
    if loaded.pixels.ndim == 2:
        warn_of_values(loaded.pixels, modality, window)
    return display
