"""What several tests of the benchmarks share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from medsam_edge.modality import Modality
from medsam_edge_benchmarks.accuracy.inputs.items import Item, Loaded
from medsam_edge_benchmarks.accuracy.scoring.measure import Row

ROW = Row("a", "CT", "set", 1, 2, 20.0, 100, "net", 0.0, 0.5, 0.5, 0.5, 0.5, None, None, None)
NEEDLE = np.zeros((3, 64, 64), np.uint8)
NEEDLE[0, 16:24, 16:24] = 5
NEEDLE[1, 16:32, 16:32] = 5


def item(labels: np.ndarray, key: str = "MR/set/a", spacing: tuple[float, ...] = (2.0, 1.0, 1.0)) -> Item:
    image = (labels * 40 + 20).astype(np.uint8)
    return Item(key, Modality.MR, "set", lambda: Loaded(image, labels, spacing[-labels.ndim :]))


def write_volume(folder: Path, name: str, values: np.ndarray, spacing: tuple[float, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("image", values.astype(np.int16) * 100), ("label", values)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing)
        sitk.WriteImage(image, str(folder / f"{name}_{kind}.nii.gz"))


class EchoNetwork:
    """Its mask is the box: logits +1 where a network pixel's centre is inside, -1 elsewhere; `deaf` gives no mask."""

    def __init__(self, deaf: bool = False) -> None:
        self.deaf = deaf
        self.brightness: list[float] = []
        self.boxes: list[list[int]] = []

    def embed(self, images: Tensor) -> Tensor:
        assert images.shape == (1, 3, 256, 256)
        self.brightness.append(float(images.sum()))
        return images

    def decode(self, rows: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        assert boxes.shape == (1, 4)
        self.boxes.append(boxes[0].int().tolist())
        x0, y0, x1, y1 = boxes[0].tolist()
        centres = torch.arange(256) + 0.5
        x, y = (x0 < centres) & (centres < x1), (y0 < centres) & (centres < y1)
        return torch.where(y[:, None] & x & (not self.deaf), 1.0, -1.0)[None], torch.ones(1)
