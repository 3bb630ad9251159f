"""Contact sheets: the objects on which a method is worst, and what a bundle makes of a few images of each modality."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import InputError
from medsam_edge.geometry import BoolArray
from medsam_edge.modality import Modality
from medsam_edge.results.result import VolumeSegmentation
from medsam_edge_benchmarks.accuracy.inputs.items import Item
from medsam_edge_benchmarks.accuracy.scoring.measure import tell
from medsam_edge_benchmarks.accuracy.scoring.methods import Network
from medsam_edge_convert.accuracy import evenly, outlined

Picture = npt.NDArray[np.uint8]
COUNT, COLUMNS = 20, 5
TILE, STRIP = 224, 34
"""Side of a picture and height of the words below it, in pixels."""
CONTEXT = 0.3
"""What is shown around the object and its mask, as a share of their longer side."""
MASK, TRUTH = (255, 140, 0), (255, 255, 255)
LETTERS = 34
"""That fit on a line below a picture."""


class Worst:
    """Keeps the `COUNT` objects of lowest DSC that it was offered."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, int, Picture]] = []
        self._offered = 0

    def offer(self, dsc: float, item: Item, label: int, image: Picture, mask: BoolArray, truth: BoolArray) -> None:
        """Draw an object if it is among the worst so far; of a volume, the slice that shows most of it."""
        self._offered += 1
        if math.isnan(dsc) or (len(self._kept) == COUNT and -dsc <= self._kept[0][0]):
            return
        if truth.ndim == 3:
            z = int(truth.sum(axis=(1, 2)).argmax())
            image, mask, truth = image[z], mask[z], truth[z]
        words = (f"DSC {100 * dsc:.1f}  {item.modality.value}  label {label}", item.key[-LETTERS:])
        entry = (-dsc, -self._offered, _tile(image, mask, truth, words))  # of equals, the first stay
        (heapq.heappush if len(self._kept) < COUNT else heapq.heappushpop)(self._kept, entry)

    def sheet(self) -> Picture:
        """(rows, columns, 3) RGB: the worst first; each mask in orange, the truth outlined in white."""
        if not self._kept:
            raise InputError("worst: no object to draw")
        tiles = [tile for _, _, tile in sorted(self._kept, key=lambda entry: entry[:2], reverse=True)]
        return _rows(tiles)


def draw_examples(network: Network, items: Sequence[Item], telling: str) -> Picture:
    """Each modality a row of evenly chosen images with their masks, truth outlined in white; of a volume, one slice."""
    rows = []
    for modality in Modality:
        if own := [item for item in items if item.modality is modality]:
            told = tell(telling, modality)
            rows.append(_rows([_example(network, item, told) for item in evenly(own, COLUMNS)]))
    return np.concatenate(rows)


def _example(network: Network, item: Item, told: Modality | None) -> Picture:
    image, labels, _ = item.load()
    result = network.segmenter.segment(image, boxes_from_masks(labels), told, **network.options)
    if isinstance(result, VolumeSegmentation):
        z = result.middles[0] if len(result) else len(labels) // 2
        return outlined(result.overlay(z), labels[z])
    return outlined(result.overlay(), labels)


def _rows(tiles: list[Picture]) -> Picture:
    """Rows of `COLUMNS` pictures of one size; what is missing of the last is black."""
    full = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)]
    return np.concatenate([np.concatenate(full[at : at + COLUMNS], axis=1) for at in range(0, len(full), COLUMNS)])


def _tile(image: Picture, mask: BoolArray, truth: BoolArray, words: tuple[str, str]) -> Picture:
    """(TILE + STRIP, TILE, 3) RGB: the surroundings of an object, and two lines of words."""
    where = _surroundings(mask | truth)
    picture = image[where] if image.ndim == 3 else cv2.cvtColor(image[where], cv2.COLOR_GRAY2RGB)
    height, width = picture.shape[:2]
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    parts = (own[where].astype(np.uint8) for own in (mask, truth))
    large = [cv2.resize(part, size, interpolation=cv2.INTER_NEAREST_EXACT) for part in parts]
    inside = large[0] > 0
    picture[inside] = (0.65 * picture[inside] + 0.35 * np.array(MASK)).astype(np.uint8)
    for own, color in zip(large, (MASK, TRUTH), strict=True):
        outlines, _ = cv2.findContours(own, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)  # of holes too
        cv2.drawContours(picture, outlines, -1, color, 1)
    tile = np.zeros((TILE + STRIP, TILE, 3), dtype=np.uint8)
    tile[: size[1], : size[0]] = picture
    for line, text in enumerate(words):
        place = (3, TILE + 13 + 15 * line)
        cv2.putText(tile, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _surroundings(shown: BoolArray) -> tuple[slice, slice]:
    """A square around what is shown, as far as the image goes."""
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    longer = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    half = max(16, math.ceil(longer * (0.5 + CONTEXT)))
    down, across = ((int(own[0]) + int(own[-1]) + 1) // 2 for own in (rows, columns))
    return np.s_[max(0, down - half) : down + half, max(0, across - half) : across + half]
