"""What pictures and volumes share: encode one 8-bit image, decode prompts on one embedding.

The image is a picture, a slice, or a tile of either. Prompts are in network pixels, masks come back in the image's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.geometry import CELL, FloatArray, Geometry, Windows, to_planes, window_groups
from medsam_edge.inference.cache import EmbeddingCache, content_key
from medsam_edge.inference.embedding import Embedding
from medsam_edge.inference.timing import Stopwatch
from medsam_edge.modality import Modality
from medsam_edge.networks.model import Model
from medsam_edge.results.mask import CroppedMask

DECODE_BATCH = 4
"""Boxes decoded at once. More gain nothing on processors without matrix units, and cost memory."""
DECODE_CELLS = 4096
"""Cells that windows decoded at once have together: small windows gain from larger batches."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """What the decoder is asked for on one embedding.

    Attributes:
        boxes: (N, 4) float32 x0, y0, x1, y1 in network pixels; they may reach outside the image.
        everywhere: whether masks are looked for in the whole image, not only near their boxes (`Model.reach`).
    """

    boxes: FloatArray
    everywhere: bool = False


@dataclass(frozen=True, eq=False)
class Decoded:
    """N masks in pixels of the embedded image, and (N,) float32 predicted IoUs, in the order of the prompts."""

    masks: tuple[CroppedMask, ...]
    scores: FloatArray
    timings_ms: dict[str, float]


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model and the embeddings it has made. Safe to use from many threads."""

    model: Model
    cache: EmbeddingCache

    def embed(
        self,
        display: npt.NDArray[np.uint8],
        modality: Modality | None = None,
        enlarging: int = cv2.INTER_LINEAR,
        shape: tuple[int, int] | None = None,
    ) -> Embedding:
        """Encode an 8-bit image, or find the embedding of the same resized pixels in the cache.

        Args:
            display: (H, W) or (H, W, 3) RGB uint8. It is kept by reference: do not change it afterwards.
            modality: the class prompt of later decoding; the encoder does not see it.
            enlarging: OpenCV's interpolation of an image smaller than the network's square.
            shape: (H, W) of the image, where `display` is the same image at a fraction of its size.
        """
        watch = Stopwatch()
        geometry = Geometry.of(shape or display.shape[:2], self.model.image_size)
        small = geometry.resize(display, enlarging)
        key = content_key(small, self.model.identity)
        outputs = self.cache.get(key)
        watch.lap("prepare")
        if outputs is None:
            planes = to_planes(small, geometry.size)
            watch.lap("prepare")
            outputs = self.model.encoder.infer({"image": planes[None]})
            for array in outputs.values():
                array.setflags(write=False)
            self.cache.put(key, outputs)
            watch.lap("encode")
        scores = outputs["class_scores"][0].tolist() if self.model.classes else []
        return Embedding(
            features=outputs["embedding"],
            geometry=geometry,
            display=display,
            modality=modality,
            model=self.model.identity,
            class_scores=dict(zip(self.model.classes, scores, strict=True)),
            timings_ms=watch.timings_ms,
        )

    def decode(self, embedding: Embedding, prompts: Prompts) -> Decoded:
        """One mask for each prompt.

        Raises:
            ModalityError: the embedding's modality is no class of a network with class prompts.
        """
        boxes = prompts.boxes
        inputs = {"embedding": embedding.features}
        modality, _ = embedding.class_prompt
        if modality and self.model.classes:
            inputs["classes"] = self.model.one_hot(modality)
        watch = Stopwatch()
        masks: dict[int, CroppedMask] = {}
        scores = np.zeros(len(boxes), dtype=np.float32)
        for batch, windows in self._batches(embedding.geometry, prompts):
            outputs = self.model.decoder.infer({**inputs, "boxes": boxes[batch], "cells": windows.cells})
            watch.lap("decode")
            for index, (logits, top, left) in zip(batch.tolist(), windows.pixels(outputs["logits"]), strict=True):
                masks[index] = CroppedMask(*embedding.geometry.mask_to_image(logits, top, left))
            scores[batch] = outputs["scores"]
            watch.lap("restore")
        return Decoded(tuple(masks[index] for index in range(len(boxes))), scores, watch.timings_ms)

    def _batches(self, geometry: Geometry, prompts: Prompts) -> Iterator[tuple[npt.NDArray[np.intp], Windows]]:
        """Numbers of boxes whose windows have one size, and their windows."""
        boxes, context = prompts.boxes, self.model.context
        if context is not None and not prompts.everywhere:
            yield from window_batches(boxes, context, geometry.size // CELL)
            return
        reach = geometry.size if prompts.everywhere else self.model.reach
        by_area = np.argsort(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")
        for start in range(0, len(boxes), DECODE_BATCH):
            batch = by_area[start : start + DECODE_BATCH]  # similar areas, because the largest box decides the size
            yield batch, geometry.windows(boxes[batch], reach)


def window_batches(boxes: FloatArray, context: float, side: int) -> Iterator[tuple[npt.NDArray[np.intp], Windows]]:
    """`window_groups` in batches that are decoded at once."""
    for indices, windows in window_groups(boxes, context, side):
        count = max(DECODE_BATCH, DECODE_CELLS // (windows.rows * windows.columns))
        for start in range(0, len(indices), count):
            chosen = slice(start, start + count)
            yield indices[chosen], windows.select(chosen)
