"""What the published inference scripts (LiteMedSAM, Rep-MedSAM) do with a case, restated step by step.

One box at a time; every mask resized as a full plane; in volumes one object after the other, each slice of its box
prepared and encoded again for each object, from the middle slice up and then from below the middle down, each slice
prompted by the mask of the slice before it. `lap(stage)` is called after each step, for whoever holds the clock;
`merge` is what each object costs once, however many slices it has.

Boxes here are the challenge's: whole numbers whose far edges, z included, are the last pixel and slice inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medsam_edge.geometry import FloatArray

SIDE = 256
"""Of the network's square, in pixels."""
MARGIN = 3
"""Network pixels by which the box of the slice before is widened on each side."""

Labels = npt.NDArray[np.uint8]
Lap = Callable[[str], None]
SquareBox = list[int]
"""x0, y0, x1, y1 in network pixels."""


class BoxNetwork(Protocol):
    """What the scripts need of a network; `medsam_edge_train.models.MedSAM` has it."""

    def embed(self, images: Tensor) -> Tensor: ...

    def decode(self, rows: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]: ...


def challenge_boxes(boxes: FloatArray) -> npt.NDArray[np.int64]:
    """(N, 4) or (N, 6) boxes with exclusive far edges → the challenge's, inclusive."""
    whole = boxes.astype(np.int64)
    whole[:, whole.shape[1] // 2 :] -= 1
    return whole


def segment_image(network: BoxNetwork, image: Labels, boxes: npt.NDArray[np.int64], lap: Lap) -> Labels:
    """image (H, W, 3) and boxes (N, 4) → (H, W) labels 1..N, later boxes over earlier ones."""
    labels = np.zeros(image.shape[:2], dtype=np.uint8)
    rows, filled = _encode(network, image, lap)
    for index, box in enumerate(boxes.tolist(), 1):
        labels[_decode(network, rows, box_to_square(box, labels.shape), filled, labels.shape, lap)] = index
        lap("restore")
    return labels


def segment_volume(network: BoxNetwork, volume: Labels, boxes: npt.NDArray[np.int64], lap: Lap) -> Labels:
    """volume (D, H, W) and boxes (N, 6) → (D, H, W) labels 1..N, later objects over earlier ones."""
    labels = np.zeros_like(volume)
    shape = volume.shape[1:]
    for index, (x0, y0, z0, x1, y1, z1) in enumerate(boxes.tolist(), 1):
        own = np.zeros_like(volume)
        lap("merge")
        first = box_to_square([x0, y0, x1, y1], shape)
        for z, before in slice_order(z0, z1):
            rows, filled = _encode(network, volume[z], lap)
            box = first if before is None else next_box(own[before]) or first
            own[z][_decode(network, rows, box, filled, shape, lap)] = index
            lap("restore")
        labels[own > 0] = index
        lap("merge")
    return labels


def slice_order(z_min: int, z_max: int) -> Iterator[tuple[int, int | None]]:
    """(slice, the slice whose mask prompts it): the middle, prompted by the box itself, up to z_max, then down."""
    middle = int((z_max - z_min) / 2 + z_min)
    for z in range(middle, z_max + 1):
        yield z, z - 1 if z > middle else None
    for z in range(middle - 1, z_min - 1, -1):
        yield z, z + 1


def box_to_square(box: list[int], shape: tuple[int, ...]) -> SquareBox:
    """Truncated, as published."""
    return [int(value * (SIDE / max(shape))) for value in box]


def next_box(labels: Labels) -> SquareBox | None:
    """The widened box of a slice's mask; None when it is empty.

    As published, the *values* are resized: a thin object of a high value survives where one of value 1 is rounded away.
    """
    rows, columns = np.nonzero(_shrink(labels))
    if rows.size == 0:
        return None
    low = [max(0, int(axis.min()) - MARGIN) for axis in (columns, rows)]
    high = [min(SIDE, int(axis.max()) + MARGIN) for axis in (columns, rows)]
    return low + high


def prepare(image: Labels) -> tuple[Tensor, tuple[int, int]]:
    """(H, W) or (H, W, 3) → (1, 3, SIDE, SIDE) float32, and the rows and columns that the image fills."""
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    small = _shrink(image)
    low, high = small.min(), small.max()
    scaled = (small - low) / np.clip(high - low, 1e-8, None)
    height, width = small.shape[:2]
    padded = np.pad(scaled, ((0, SIDE - height), (0, SIDE - width), (0, 0)))
    return torch.tensor(padded).float().permute(2, 0, 1)[None], (height, width)


def restore(logits: Tensor, filled: tuple[int, int], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """(1, SIDE, SIDE) logits → (H, W) bool: padding cut off, resized bilinearly, sigmoid above a half."""
    height, width = filled
    plane = torch.nn.functional.interpolate(
        logits[None, :, :height, :width], size=tuple(shape), mode="bilinear", align_corners=False
    )
    return np.asarray(torch.sigmoid(plane)[0, 0].numpy() > 0.5)


def _shrink(image: Labels) -> Labels:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (int(width * scale + 0.5), int(height * scale + 0.5))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _encode(network: BoxNetwork, image: Labels, lap: Lap) -> tuple[Tensor, tuple[int, int]]:
    planes, filled = prepare(image)
    lap("prepare")
    with torch.no_grad():
        rows = network.embed(planes)
    lap("encode")
    return rows, filled


def _decode(
    network: BoxNetwork, rows: Tensor, box: SquareBox, filled: tuple[int, int], shape: tuple[int, ...], lap: Lap
) -> npt.NDArray[np.bool_]:
    with torch.no_grad():
        logits, _ = network.decode(rows, torch.tensor([box], dtype=torch.float32))
    lap("decode")
    return restore(logits, filled, shape)
