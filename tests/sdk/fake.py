"""Fake models whose masks can be worked out by hand: the mask is the box. With class prompts, class k shrinks the box
by k network pixels on each side. The `Seeing` parts mask what is bright inside the box."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality
from medsam_edge.networks.model import Arrays, Model

SIZE = 64


class FakeEncoder:
    effective_precision = "f32"

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.calls = 0

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        self.calls += 1
        assert inputs["image"].shape == (1, 3, SIZE, SIZE)
        outputs = {"embedding": inputs["image"].mean(axis=(2, 3))}
        if self.classes:  # a darker image is more likely class 0; the others share the rest
            brightness = inputs["image"].mean()
            shares = np.full((1, self.classes), brightness / (self.classes - 1), np.float32)
            shares[0, 0] = 1 - brightness
            outputs["class_scores"] = shares
        return outputs


class FakeDecoder:
    """Logits are +1 where a network pixel's centre is inside the box, else -1; scores rise with x0 + y0 of the box."""

    effective_precision = "f32"

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.batches: list[int] = []

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        boxes = inputs["boxes"]
        self.batches.append(len(boxes))
        assert ("classes" in inputs) is bool(self.classes)
        if self.classes:
            assert inputs["classes"].shape == (1, self.classes)
            assert inputs["classes"].sum() == 1
            boxes = boxes + inputs["classes"].argmax() * np.array([1, 1, -1, -1])
        centres = np.arange(SIZE) + 0.5
        x = (boxes[:, 0, None] <= centres) & (centres < boxes[:, 2, None])
        y = (boxes[:, 1, None] <= centres) & (centres < boxes[:, 3, None])
        logits = np.where(y[:, :, None] & x[:, None, :], np.float32(1), np.float32(-1))
        scores = (0.5 + inputs["boxes"][:, :2].sum(axis=1) / 1000).astype(np.float32)
        return {"logits": _of_cells(logits, inputs["cells"]), "scores": scores}


def _of_cells(planes: npt.NDArray[Any], cells: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """(N or 1, SIZE, SIZE) planes, (N, K) cells → (N, K, 4, 4)."""
    parts = planes.reshape(-1, SIZE // 4, 4, SIZE // 4, 4).transpose(0, 1, 3, 2, 4).reshape(len(planes), -1, 4, 4)
    whole = np.broadcast_to(parts, (len(cells), *parts.shape[1:]))
    return np.take_along_axis(whole, cells[:, :, None, None], axis=1)


class SeeingEncoder:
    """The embedding is the image. `seen` lists the column of the brightest pixel in the first row of each image."""

    effective_precision = "f32"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        plane = inputs["image"][0, 0]
        self.seen.append(int(plane[0].argmax()))
        return {"embedding": plane[None].copy()}


class SeeingDecoder(FakeDecoder):
    """Logits are +1 where the image is bright inside the box, else -1."""

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        outputs = super().infer(inputs)
        bright = _of_cells(inputs["embedding"] > 0.5, inputs["cells"])
        return {**outputs, "logits": np.where((outputs["logits"] > 0) & bright, np.float32(1), np.float32(-1))}


def fake_model(identity: str = "fake", classes: tuple[Modality, ...] = (), reach: int = 4) -> Model:
    return Model(FakeEncoder(len(classes)), FakeDecoder(len(classes)), SIZE, identity, reach, classes)


class PromptedDecoder(FakeDecoder):
    """The mask is the mask prompt within the box, without one the box; clicks add or remove a disk of radius 3.

    `asked` lists the inputs of each call.
    """

    def __init__(self, classes: int = 0) -> None:
        super().__init__(classes)
        self.asked: list[dict[str, npt.NDArray[Any]]] = []

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        self.asked.append(dict(inputs))
        outputs = super().infer(inputs)
        logits, cells, given = outputs["logits"], inputs["cells"], inputs["has_prior"]
        prior, boxes = inputs["prior"], inputs["boxes"]
        assert prior.shape[1] in (1, cells.shape[1])  # 1 where no object has one
        assert prior.shape[1] == 1 or given.any()
        inside = np.where(logits > 0, np.minimum(logits, prior), logits)
        logits = np.where(given[:, None, None, None] > 0, inside, logits)
        rows, columns = np.indices((SIZE, SIZE))
        for index, (points, labels) in enumerate(zip(inputs["points"], inputs["point_labels"], strict=True)):
            ends = labels[labels != 1][labels[labels != 1] != 0].tolist()
            assert ends == ([2, 3] if boxes[index].any() else [-1])
            for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True):
                if label in (0, 1):
                    disk = np.hypot(columns - x, rows - y) <= 3
                    near = _of_cells(disk[None], cells[index : index + 1])[0]
                    logits[index][near] = 1 if label else -1
        return {**outputs, "logits": logits}


def prompted_model(identity: str = "prompted") -> Model:
    return Model(FakeEncoder(0), PromptedDecoder(), SIZE, identity, SIZE, prompts=("box", "points", "mask"))
