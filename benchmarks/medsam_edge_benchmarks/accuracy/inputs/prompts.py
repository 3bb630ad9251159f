"""The boxes that every method is given: tight around the labels, or with sides that have been moved."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.geometry import FloatArray, Geometry
from medsam_edge_benchmarks.accuracy.inputs.items import Labels

NETWORK = 256
"""Side of the square whose pixels jitter and object sizes are counted in, whatever square a network sees."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """The objects of one image or volume, an item, and their boxes, of which no method's depend on what another did."""

    labels: Labels
    spacing: tuple[float, ...]
    key: str
    jitter: float = 0.0  # network pixels that each side is moved by at most

    @cached_property
    def values(self) -> npt.NDArray[np.int64]:
        """(N,) the labels of the objects, rising."""
        values = np.unique(self.labels).astype(np.int64)
        return values[values > 0]

    @cached_property
    def tight(self) -> FloatArray:
        """(N, 4) x0, y0, x1, y1 in pixels, or (N, 6) x0, y0, z0, x1, y1, z1 in voxels; far edges exclusive."""
        return boxes_from_masks(self.labels)

    @cached_property
    def boxes(self) -> FloatArray:
        """The tight boxes with their sides moved."""
        return jittered(self.tight, self.labels.shape, self.spacing, self.jitter, self.key)

    def on_slice(self, z: int) -> tuple[npt.NDArray[np.intp], FloatArray]:
        """(K,) numbers of the objects that slice z of a volume shows, and (K, 4) boxes of what it shows of them."""
        shown = self.labels[z]
        objects = np.searchsorted(self.values, np.unique(shown[shown > 0]))
        tight = boxes_from_masks(shown)
        return objects, jittered(tight, shown.shape, self.spacing[1:], self.jitter, f"{self.key}/{z}")

    @property
    def sides(self) -> npt.NDArray[np.float64]:
        """(N,) the side of the square as large as the object's tight box (of a volume: seen along z), in network
        pixels."""
        box = self.tight.astype(np.float64)
        axes = self.labels.ndim
        area = (box[:, axes] - box[:, 0]) * (box[:, axes + 1] - box[:, 1])
        return np.asarray(np.sqrt(area) * _scale(self.labels.shape))


def jittered(
    boxes: FloatArray, shape: tuple[int, ...], spacing: tuple[float, ...], jitter: float, key: str
) -> FloatArray:
    """Move each side of each box by up to `jitter` network pixels, in or out, evenly distributed.

    The same key draws the same moves, which are in proportion to `jitter`. Along z a volume's sides are moved by as
    many mm, in whole slices. Boxes stay inside; on an axis where one would become thinner than a pixel, it
    stays as it was. Boxes are (N, 4) x0, y0, x1, y1 or (N, 6) x0, y0, z0, x1, y1, z1; shape and spacing have the axes
    (H, W) or (D, H, W).
    """
    axes, ends = len(shape), np.array(shape[::-1])
    pixels = jitter / _scale(shape)
    reach = np.array([pixels, pixels, pixels * spacing[-1] / spacing[0]][:axes])
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    moved = boxes + rng.uniform(-1, 1, boxes.shape) * np.tile(reach, 2)
    if axes == 3:
        moved[:, [2, 5]] = np.rint(moved[:, [2, 5]])
    low, high = moved[:, :axes].clip(0, ends), moved[:, axes:].clip(0, ends)
    thin = np.tile(high - low < 1, 2)
    return np.where(thin, boxes, np.concatenate([low, high], axis=1)).astype(np.float32)


def _scale(shape: tuple[int, ...]) -> float:
    return Geometry.of(shape[-2:], NETWORK).scale
