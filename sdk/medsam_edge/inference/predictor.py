"""What pictures and volumes share: encode one 8-bit image, decode prompts on one embedding.

The image is a picture, a slice, or a tile of either. Prompts are in network pixels, masks come back in the image's.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.geometry import FloatArray, Geometry
from medsam_edge.inference.cache import EmbeddingCache, content_key
from medsam_edge.inference.embedding import Embedding
from medsam_edge.inference.timing import Stopwatch
from medsam_edge.modality import Modality
from medsam_edge.networks.model import Model
from medsam_edge.results.mask import CroppedMask

DECODE_BATCH = 4
"""Boxes decoded at once. More gain nothing on processors without matrix units, and cost memory."""


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
        self, display: npt.NDArray[np.uint8], modality: Modality | None = None, enlarging: int = cv2.INTER_LINEAR
    ) -> Embedding:
        """Encode an 8-bit image, or find the embedding of the same pixels in the cache.

        Args:
            display: (H, W) or (H, W, 3) RGB uint8. It is kept by reference: do not change it afterwards.
            modality: the class prompt of later decoding; the encoder does not see it.
            enlarging: OpenCV's interpolation of an image smaller than the network's square.
        """
        watch = Stopwatch()
        geometry = Geometry.of(display.shape[:2], self.model.image_size)
        key = content_key(display, self.model.identity, enlarging if geometry.scale > 1 else None)
        outputs = self.cache.get(key)
        watch.lap("prepare")
        if outputs is None:
            planes = geometry.image_to_network(display, enlarging)
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
        geometry, boxes = embedding.geometry, prompts.boxes
        reach = geometry.size if prompts.everywhere else self.model.reach
        inputs = {"embedding": embedding.features}
        modality, _ = embedding.class_prompt
        if modality and self.model.classes:
            inputs["classes"] = self.model.one_hot(modality)
        watch = Stopwatch()
        masks: dict[int, CroppedMask] = {}
        scores = np.zeros(len(boxes), dtype=np.float32)
        by_area = np.argsort(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")
        for start in range(0, len(boxes), DECODE_BATCH):
            batch = by_area[start : start + DECODE_BATCH]  # similar areas, because a batch has windows of one size
            windows = geometry.windows(boxes[batch], reach)
            outputs = self.model.decoder.infer({**inputs, "boxes": boxes[batch], "cells": windows.cells})
            watch.lap("decode")
            for index, logits in zip(batch.tolist(), windows.planes(outputs["logits"]), strict=True):
                masks[index] = CroppedMask(*geometry.mask_to_image(logits))
            scores[batch] = outputs["scores"]
            watch.lap("restore")
        return Decoded(tuple(masks[index] for index in range(len(boxes))), scores, watch.timings_ms)
