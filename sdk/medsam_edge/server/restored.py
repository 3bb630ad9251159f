"""Results made of masks alone; corrections go on from them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality
from medsam_edge.prompts import Clicks
from medsam_edge.results.mask import CroppedMask, Logits
from medsam_edge.results.result import VolumeSegmentation


def restored_volume(
    display: npt.NDArray[np.uint8],
    axis: int,
    masks: Mapping[int, CroppedMask],
    modality: Modality | None,
) -> VolumeSegmentation:
    """One object of a volume, with its masks by slice along an axis: no box, no clicks, a score of 1."""
    sides = [side for at, side in enumerate(display.shape) if at != axis]
    view = (0, 0, sides[0], sides[1])
    scores = np.full((1, display.shape[axis]), np.nan, dtype=np.float32)
    scores[0, list(masks)] = 1.0
    return VolumeSegmentation(
        boxes=np.full((1, 6), np.nan, np.float32),
        scores=np.ones(1, dtype=np.float32),
        slice_scores=scores,
        masks=(dict(masks),),
        display=display,
        axis=axis,
        modality=modality,
        timings_ms={},
        clicks=(Clicks.none(3),),
        logits=({z: no_logits(view) for z in masks} or {0: no_logits(view)},),
        follow=True,
    )


def no_logits(view: tuple[int, int, int, int]) -> Logits:
    """Of a mask that no decoder gave; view as in `medsam_edge.results.mask.Logits`."""
    return Logits(0, 0, np.zeros((0, 0), dtype=np.float16), view)
