"""Pictures: each box in the view that shows it large enough, all masks in one result."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import BoxesLike, check_boxes
from medsam_edge.errors import ImageError
from medsam_edge.image import LoadedImage
from medsam_edge.inference.propagation import rule_of
from medsam_edge.inference.tiles import View, views
from medsam_edge.intensity import Window, to_display, warn_of_values
from medsam_edge.modality import Modality
from medsam_edge.results.mask import CroppedMask
from medsam_edge.results.result import Segmentation

if TYPE_CHECKING:
    from medsam_edge.segmenter import Segmenter, _Clock
    from medsam_edge.settings import Settings


def picture_of(loaded: LoadedImage, modality: Modality | None, window: Window | None) -> npt.NDArray[np.uint8]:
    """(H, W) or (H, W, 3) uint8, read-only: the image as the network is shown it, before resizing.

    Raises:
        ImageError: no picture, or what `medsam_edge.intensity.to_display` refuses.
    """
    shape = loaded.pixels.shape
    if 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3 and loaded.color is not False)):
        hint = "; `segment` takes volumes with boxes (N, 6): x0, y0, z0, x1, y1, z1" if len(shape) == 3 else ""
        raise ImageError(f"image: expected (H, W) or (H, W, 3), got {shape}{hint}")
    display = to_display(loaded.pixels, modality, window)
    if display is loaded.pixels:
        display = display.copy()  # the caller may change theirs; an embedding never changes
    display.setflags(write=False)
    if loaded.pixels.ndim == 2:
        warn_of_values(loaded.pixels, modality)
    return display


def segment_picture(
    segmenter: Segmenter,
    loaded: LoadedImage,
    boxes: BoxesLike,
    modality: Modality | None,
    window: Window | None,
    settings: Settings,
    clock: _Clock,
) -> Segmentation:
    """Segment what each box of a picture holds; see `Segmenter.segment`."""
    display, rule, size = picture_of(loaded, modality, window), rule_of(settings.compat), segmenter.model.image_size
    height, width = display.shape[:2]
    checked = check_boxes(boxes, height, width)
    whole = View(0, 0, height, width, ())
    looks = views(checked, height, width, size, settings.tiling) or [whole]
    clock.lap("prepare")
    timings, confidence = Counter(clock.laps_ms), None
    if modality is None and segmenter.model.classes and any(view.where != whole.where for view in looks):
        embedding = segmenter.embed_display(display)  # all tiles are of what the whole image is
        timings.update(embedding.timings_ms)
        modality, confidence = embedding.class_prompt
    masks: dict[int, CroppedMask] = {}
    scores = np.zeros(len(checked), dtype=np.float32)
    for view in looks:
        embedding = segmenter.embed_display(display[view.where], modality, rule.enlarging)
        found = rule.decode(segmenter, embedding, rule.start(view.boxes(checked), embedding.geometry))
        timings.update(found.timings_ms)
        masks |= {index: mask.moved(view.top, view.left) for index, mask in zip(view.own, found.masks, strict=True)}
        scores[list(view.own)] = found.scores
    return Segmentation(
        boxes=checked,
        scores=scores,
        masks=tuple(masks[index] for index in range(len(checked))),
        display=display,
        modality=found.modality,
        timings_ms=dict(timings),
        overlap=settings.overlap,
        frame=loaded.frame,
        modality_confidence=found.modality_confidence if confidence is None else confidence,
    )
