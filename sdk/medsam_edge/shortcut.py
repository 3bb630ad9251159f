"""`segment` without a segmenter of one's own: the packaged model, loaded once."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, overload

from medsam_edge.boxes import Boxes2D, Boxes3D, BoxesLike
from medsam_edge.modality import Modality
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.segmenter import ImageLike, Segmenter
from medsam_edge.settings import Options

if TYPE_CHECKING:
    from typing_extensions import Unpack


@overload
def segment(
    image: ImageLike, boxes: Boxes2D, modality: str | Modality | None = None, **options: Unpack[Options]
) -> Segmentation: ...


@overload
def segment(
    image: ImageLike, boxes: Boxes3D, modality: str | Modality | None = None, **options: Unpack[Options]
) -> VolumeSegmentation: ...


@overload
def segment(
    image: ImageLike,
    boxes: BoxesLike | None = None,
    modality: str | Modality | None = None,
    **options: Unpack[Options],
) -> Segmentation | VolumeSegmentation: ...


def segment(
    image: ImageLike,
    boxes: BoxesLike | None = None,
    modality: str | Modality | None = None,
    **options: Unpack[Options],
) -> Segmentation | VolumeSegmentation:
    """`Segmenter.segment` with the packaged model, which is loaded at the first call and kept. Same options."""
    with _shared_lock:
        segmenter = _shared_segmenter()
    return segmenter.segment(image, boxes, modality, **options)


_shared_lock = threading.Lock()


@cache
def _shared_segmenter() -> Segmenter:
    return Segmenter()
