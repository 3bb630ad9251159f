"""A model whose masks can be worked out by hand: each box is its own mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.model import Arrays, Model

SIZE = 64


class FakeEncoder:
    effective_precision = "f32"

    def __init__(self) -> None:
        self.calls = 0

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        self.calls += 1
        assert inputs["image"].shape == (1, 3, SIZE, SIZE)
        return {"embedding": inputs["image"].mean(axis=(2, 3))}


class FakeDecoder:
    """logits +1 where a network pixel's centre is inside the box, else -1; scores 0.5, 0.51, …"""

    effective_precision = "f32"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        boxes = inputs["boxes"]
        self.batches.append(len(boxes))
        centres = np.arange(SIZE) + 0.5
        x = (boxes[:, 0, None] <= centres) & (centres < boxes[:, 2, None])
        y = (boxes[:, 1, None] <= centres) & (centres < boxes[:, 3, None])
        logits = np.where(y[:, :, None] & x[:, None, :], np.float32(1), np.float32(-1))
        return {"logits": logits, "scores": (0.5 + 0.01 * np.arange(len(boxes))).astype(np.float32)}


def fake_model(identity: str = "fake") -> Model:
    return Model(FakeEncoder(), FakeDecoder(), SIZE, identity)
