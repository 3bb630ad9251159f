"""The result of a segmentation. Masks are kept cropped to where they are: 241 nuclei are not 241 full planes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError
from medsam_edge.io import Frame, write_labels
from medsam_edge.modality import Modality

Overlap = Literal["later", "score"]
FILL_OPACITY = 0.35


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A mask's rows top..top+h and columns left..left+w; `pixels` is (h, w) bool, (0, 0) for an empty mask."""

    top: int
    left: int
    pixels: npt.NDArray[np.bool_]

    @property
    def where(self) -> tuple[slice, slice]:
        height, width = self.pixels.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One mask per box, in the order of the boxes.

    Attributes:
        boxes: (N, 4) float32 x0, y0, x1, y1 in image pixels, as used (clipped to the image).
        scores: (N,) float32, the network's own estimate of each mask's IoU, about 0..1.
        masks: N masks, each cropped to where it is; `mask(i)` gives a full one.
        display: (H, W) or (H, W, 3) uint8, the image as a person would see it.
        modality: as told, or as the file says, or as recognised by a network with class prompts; None where unknown.
        timings_ms: milliseconds per stage: read, prepare, encode, decode, restore.
        overlap: who owns a pixel of several masks in `label_map`: the `later` box, or the higher `score`.
        frame: of the medical file the image came from.
        modality_confidence: probability, 0..1, that a network with class prompts gave to the modality it recognised;
            None where the modality was told, or is None.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    masks: tuple[CroppedMask, ...]
    display: npt.NDArray[np.uint8]
    modality: Modality | None
    timings_ms: Mapping[str, float]
    overlap: Overlap = "later"
    frame: Frame | None = None
    modality_confidence: float | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def mask(self, index: int) -> npt.NDArray[np.bool_]:
        """(H, W) bool mask of box `index`.

        Raises:
            InputError: there is no such box.
        """
        if not -len(self) <= index < len(self):
            raise InputError(f"index: expected a box number below {len(self)}, got {index}")
        full = np.zeros(self.display.shape[:2], dtype=bool)
        full[self.masks[index].where] = self.masks[index].pixels
        return full

    @cached_property
    def label_map(self) -> npt.NDArray[np.uint16]:
        """(H, W) uint16: 0 background, 1..N the boxes in their order; read-only."""
        labels = np.zeros(self.display.shape[:2], dtype=np.uint16)
        order = np.argsort(self.scores, kind="stable") if self.overlap == "score" else np.arange(len(self))
        for index in order:
            labels[self.masks[index].where][self.masks[index].pixels] = index + 1
        labels.setflags(write=False)
        return labels

    def save(self, path: str | Path) -> Path:
        """Write the label map: png, tif, bmp, npz (`segs`), or nii, nii.gz, nrrd, mha with the image's geometry.

        The file appears whole or not at all. Returns its path.

        Raises:
            ImageError: another suffix.
        """
        target = Path(path)
        write_labels(target, self.label_map, self.frame)
        return target

    def overlay(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3) RGB uint8: the image with each mask tinted and outlined, and its box."""
        picture = self.display if self.display.ndim == 3 else cv2.cvtColor(self.display, cv2.COLOR_GRAY2RGB)
        picture = np.array(picture, dtype=np.uint8)
        thickness = max(1, round(max(picture.shape) / 600))
        for index, mask in enumerate(self.masks):
            _draw_mask(picture, mask, color(index), thickness)
        for index, box in enumerate(np.rint(self.boxes).astype(int).tolist()):
            cv2.rectangle(picture, (box[0], box[1]), (box[2] - 1, box[3] - 1), color(index), thickness)
        return picture


def color(index: int) -> tuple[int, int, int]:
    """RGB of object `index`: hues apart by the golden ratio, so that neighbours differ."""
    hue = np.array([[[(index * 0.618034 + 0.36) % 1.0 * 179, 190, 255]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return int(red), int(green), int(blue)


def _draw_mask(picture: npt.NDArray[np.uint8], mask: CroppedMask, rgb: tuple[int, int, int], thickness: int) -> None:
    region = picture[mask.where]
    tinted = region[mask.pixels] * (1 - FILL_OPACITY) + np.array(rgb) * FILL_OPACITY
    region[mask.pixels] = np.rint(tinted).astype(np.uint8)
    outlines, _ = cv2.findContours(
        mask.pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(mask.left, mask.top)
    )
    cv2.drawContours(picture, outlines, -1, rgb, thickness)
