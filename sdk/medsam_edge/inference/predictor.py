"""What pictures and volumes share: encode one 8-bit image, decode prompts on one embedding.

The image is a picture, a slice, or a tile of either. Prompts are in network pixels, masks come back in the image's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError
from medsam_edge.geometry import CELL, FloatArray, Geometry, Windows, to_planes, window_groups
from medsam_edge.inference.cache import EmbeddingCache, content_key
from medsam_edge.inference.embedding import Embedding
from medsam_edge.inference.timing import Stopwatch
from medsam_edge.modality import Modality
from medsam_edge.networks.model import Model
from medsam_edge.prompts import PADDING, CheckedPrompts, Clicks
from medsam_edge.results.mask import CroppedMask, Logits

DECODE_BATCH = 4
"""Boxes decoded at once. More gain nothing on processors without matrix units, and cost memory."""
DECODE_CELLS = 4096
"""Cells that windows decoded at once have together: small windows gain from larger batches."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """What the decoder is asked for on one embedding.

    Attributes:
        boxes: (N, 4) float32 x0, y0, x1, y1 in network pixels; they may reach outside the image. NaN: no box.
        everywhere: whether masks are looked for in the whole image, not only near their boxes (`Model.reach`).
        clicks: on each of the N objects, in network pixels; empty where there are none at all.
        priors: mask prompts in the network's square, by number of the object.
    """

    boxes: FloatArray
    everywhere: bool = False
    clicks: Sequence[Clicks] = ()
    priors: Mapping[int, Logits] = field(default_factory=dict)

    def alike(self) -> list[npt.NDArray[np.intp]]:
        """Numbers of the objects that can be decoded together: as many clicks, all or none with a box."""
        counts = [len(own) for own in self.clicks] or [0] * len(self.boxes)
        kinds = list(zip(counts, np.isnan(self.boxes[:, 0]).tolist(), strict=True))
        return [np.array([i for i, kind in enumerate(kinds) if kind == one]) for one in sorted(set(kinds))]


@dataclass(frozen=True, eq=False)
class Decoded:
    """N masks in pixels of the embedded image, (N,) float32 predicted IoUs, N logits; in the order of the prompts."""

    masks: tuple[CroppedMask, ...]
    scores: FloatArray
    logits: tuple[Logits, ...]
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

    def check(self, asked: CheckedPrompts) -> None:
        """Raise InputError for prompts that the model does not take."""
        for kind, argument in (("points", "points"), ("mask", "prior")):
            if kind in asked.kinds and kind not in self.model.prompts:
                raise InputError(f"{argument}: the model takes {', '.join(self.model.prompts)} prompts, got {kind}")

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
        found: dict[int, Logits] = {}
        scores = np.zeros(len(boxes), dtype=np.float32)
        for batch, windows, asked in self.batches(embedding.geometry, prompts):
            outputs = self.model.decoder.infer({**inputs, **asked})
            watch.lap("decode")
            for index, (logits, top, left) in zip(batch.tolist(), windows.pixels(outputs["logits"]), strict=True):
                masks[index] = CroppedMask(*embedding.geometry.mask_to_image(logits, top, left))
                found[index] = Logits(top, left, logits.astype(np.float16))
            scores[batch] = outputs["scores"]
            watch.lap("restore")
        order = range(len(boxes))
        return Decoded(tuple(masks[i] for i in order), scores, tuple(found[i] for i in order), watch.timings_ms)

    def batches(
        self, geometry: Geometry, prompts: Prompts
    ) -> Iterator[tuple[npt.NDArray[np.intp], Windows, dict[str, npt.NDArray[Any]]]]:
        """What is decoded at once: numbers of the objects, their windows, and the decoder's inputs of them."""
        for batch, windows in self._batches(geometry, prompts):
            yield batch, windows, {**self._ports(prompts, batch, windows), "cells": windows.cells}

    def _ports(self, prompts: Prompts, batch: npt.NDArray[np.intp], windows: Windows) -> dict[str, npt.NDArray[Any]]:
        """The decoder's inputs of some objects that are alike (see `medsam_edge.networks.bundle`)."""
        boxes = np.nan_to_num(prompts.boxes[batch])
        if self.model.prompts == ("box",):
            return {"boxes": boxes}
        boxed = not np.isnan(prompts.boxes[batch]).any()
        ends = boxes.reshape(-1, 2, 2) if boxed else np.zeros((len(batch), 1, 2), np.float32)
        end_labels = np.array([[2, 3] if boxed else [PADDING]] * len(batch), np.int64)
        points, labels = [ends], [end_labels]
        if prompts.clicks:
            points.insert(0, np.stack([prompts.clicks[index].points for index in batch]))
            labels.insert(0, np.stack([prompts.clicks[index].labels for index in batch]))
        prior = np.zeros((len(batch), 1, CELL, CELL), np.float32)
        given = np.array([index in prompts.priors for index in batch], np.float32)
        if given.any():
            read = windows if self.model.context is not None else Windows.whole(windows.side, len(batch))
            prior = np.zeros((len(batch), read.rows * read.columns, CELL, CELL), np.float32)
            for row in np.flatnonzero(given).tolist():
                own = prompts.priors[int(batch[row])]
                prior[row] = read.cut(row, own.top, own.left, own.values)
        return {
            "boxes": boxes,
            "points": np.concatenate(points, axis=1),
            "point_labels": np.concatenate(labels, axis=1),
            "prior": prior,
            "has_prior": given,
        }

    def _batches(self, geometry: Geometry, prompts: Prompts) -> Iterator[tuple[npt.NDArray[np.intp], Windows]]:
        """Numbers of objects that are alike and whose windows have one size, and their windows."""
        size, context = geometry.size, self.model.context
        boxes = np.where(np.isnan(prompts.boxes), np.array([0, 0, size, size], np.float32), prompts.boxes)
        for alike in prompts.alike():
            own = boxes[alike]
            if context is not None and not prompts.everywhere:
                for batch, windows in window_batches(own, context, size // CELL):
                    yield alike[batch], windows
                continue
            by_area = np.argsort(np.prod(own[:, 2:] - own[:, :2], axis=1), kind="stable")
            for start in range(0, len(own), DECODE_BATCH):
                batch = by_area[start : start + DECODE_BATCH]  # similar areas: the largest box decides the size
                if prompts.everywhere:
                    yield alike[batch], Windows.whole(size // CELL, len(batch))
                else:
                    yield alike[batch], geometry.windows(own[batch], self.model.reach)


def window_batches(boxes: FloatArray, context: float, side: int) -> Iterator[tuple[npt.NDArray[np.intp], Windows]]:
    """`window_groups` in batches that are decoded at once."""
    for indices, windows in window_groups(boxes, context, side):
        count = max(DECODE_BATCH, DECODE_CELLS // (windows.rows * windows.columns))
        for start in range(0, len(indices), count):
            chosen = slice(start, start + count)
            yield indices[chosen], windows.select(chosen)
