"""The result of a segmentation, of a picture or of a volume.

Masks are kept cropped to where they are: 241 nuclei do not cost 241 full planes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError
from medsam_edge.image import Frame, LateArray
from medsam_edge.modality import Modality
from medsam_edge.prompts import Clicks
from medsam_edge.results.mask import CroppedMask, Logits
from medsam_edge.results.overlay import draw_objects
from medsam_edge.settings import Overlap
from medsam_edge.writing.labels import write_labels
from medsam_edge.writing.segments import Label, named

R = TypeVar("R", bound="_Objects")


@dataclass(frozen=True, eq=False)
class SegmentedObject:
    """One object of a result.

    Attributes:
        box: (4,) or (6,) float32, its box as used.
        score: the network's own estimate of the mask's IoU, about 0..1.
        mask: (H, W), or (D, H, W) of a volume; bool.
    """

    box: npt.NDArray[np.float32]
    score: float
    mask: npt.NDArray[np.bool_]


class _Objects(ABC):
    """What both results have: objects in the order of their boxes, each painted into an array of the image's shape."""

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    modality: Modality | None
    overlap: Overlap
    frame: Frame | None
    clicks: tuple[Clicks, ...]
    segmenter: Any

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of the label map: (H, W), or (D, H, W) of a volume."""

    @abstractmethod
    def _paint(self, target: npt.NDArray[Any], index: int, value: int) -> None:
        """Set an object's pixels in an array of that shape."""

    @abstractmethod
    def overlay(self) -> npt.NDArray[np.uint8]:
        """RGB uint8: the image, or a volume's middle slice, with masks and boxes drawn over it."""

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int) -> SegmentedObject:
        """Object `index`; negative numbers count from the end.

        Raises:
            InputError: there is no such object.
        """
        return SegmentedObject(self.boxes[self._checked(index)], float(self.scores[index]), self.mask(index))

    def __iter__(self) -> Iterator[SegmentedObject]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        size = "×".join(map(str, self.shape))
        scores = ", ".join(f"{score:.2f}" for score in self.scores[:5].tolist()) + ", …" * (len(self) > 5)
        modality = self.modality.value if self.modality else "unknown modality"
        return f"<{type(self).__name__} of {size}, {modality}: {len(self)} objects, scores [{scores}]>"

    def _repr_png_(self) -> bytes:
        """The overlay, for notebooks."""
        done, encoded = cv2.imencode(".png", cv2.cvtColor(self.overlay(), cv2.COLOR_RGB2BGR))
        return encoded.tobytes() if done else b""

    def _checked(self, index: int) -> int:
        if not isinstance(index, (int, np.integer)) or not -len(self) <= index < len(self):
            raise InputError(f"index: expected a box number below {len(self)}, got {index!r}")
        return int(index)

    def mask(self, index: int) -> npt.NDArray[np.bool_]:
        """(H, W), or (D, H, W) of a volume: the bool mask of box `index`.

        Raises:
            InputError: there is no such box.
        """
        full = np.zeros(self.shape, dtype=bool)
        self._paint(full, self._checked(index), 1)
        return full

    @cached_property
    def label_map(self) -> npt.NDArray[np.uint16]:
        """(H, W), or (D, H, W) of a volume; uint16: 0 background, 1..N the boxes in their order; read-only.

        Raises:
            InputError: more boxes than 16 bits count.
        """
        if len(self) > 65535:
            raise InputError(f"boxes: expected at most 65535 in a label map, got {len(self)}")
        labels = np.zeros(self.shape, dtype=np.uint16)
        order = np.argsort(self.scores, kind="stable") if self.overlap == "score" else np.arange(len(self))
        for index in order.tolist():
            self._paint(labels, index, index + 1)
        labels.setflags(write=False)
        return labels

    def refine(self: R, points: Any, point_labels: Any) -> R:
        """`Segmenter.refine` of this result by the segmenter that made it.

        Raises:
            InputError: the result was pickled, so it no longer knows its segmenter; and what `refine` raises.
        """
        if self.segmenter is None:
            raise InputError("result: does not know its segmenter, as after pickling; use segmenter.refine(result, …)")
        refined: R = self.segmenter.refine(self, points=points, point_labels=point_labels)
        return refined

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "segmenter": None}  # compiled networks cannot be pickled

    def save(self, path: str | Path, labels: Sequence[Label] | None = None, binary: bool = False) -> Path:
        """Write the label map: npz (`segs`), or nii, nii.gz, nrrd, mha with the image's geometry; png, tif, bmp (to
        255 objects) for all but volumes; dcm, a DICOM SEG, of images from DICOM (see `medsam_edge.writing.dicom_seg`).

        The file appears whole or not at all. Returns its path.

        Args:
            labels: for dcm, what each object is, in the order of the boxes: a name, which gets its SNOMED CT code if it
                is one of `medsam_edge.writing.segments`, or (name, (code value, scheme, meaning)).
            binary: all objects are one: 255 in pictures, 1 elsewhere. Without it a png of up to 255 objects has a
                palette: viewers show colours, `read_image` and PIL read the numbers.

        Raises:
            ImageError: another suffix, or what `dicom_seg` refuses.
            InputError: labels that are none, or for another format; for dcm, highdicom is not installed.
        """
        target = Path(path)
        if labels is not None:
            named(labels, len(self))
        write_labels(target, self.label_map, self.frame, labels, binary)
        return target


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(_Objects):
    """One mask per box, in the order of the boxes.

    Attributes:
        boxes: (N, 4) float32 x0, y0, x1, y1 in image pixels, as used (clipped to the image).
        scores: (N,) float32, the network's own estimate of each mask's IoU, about 0..1.
        masks: N masks, each cropped to where it is; `mask(i)` gives a full one.
        shown: `display`, or what makes it when it is asked for.
        modality: as told, or as the file says, or as recognised by a network with class prompts; None where unknown.
        timings_ms: milliseconds per stage: read, prepare, encode, decode, restore.
        overlap: who owns a pixel of several masks in `label_map`: the `later` box, or the higher `score`.
        frame: of the medical file the image came from.
        logits: N, what the decoder gave, which corrections go on from; without values where they were not kept.
        clicks: N, the clicks on each object so far.
        segmenter: what made the result; None after pickling.
        modality_confidence: probability, 0..1, that a network with class prompts gave to the modality it recognised;
            None where the modality was told, or is None.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    masks: tuple[CroppedMask, ...]
    shown: npt.NDArray[np.uint8] | LateArray
    modality: Modality | None
    timings_ms: Mapping[str, float]
    overlap: Overlap = "later"
    frame: Frame | None = None
    modality_confidence: float | None = None
    logits: tuple[Logits, ...] = ()
    clicks: tuple[Clicks, ...] = ()
    segmenter: Any = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shown.shape[:2]

    @cached_property
    def display(self) -> npt.NDArray[np.uint8]:
        """(H, W) or (H, W, 3) uint8, the image as a person would see it; with `reduced_jpeg` decoded when first asked
        for, from the file's bytes, which the result keeps."""
        return self.shown.make() if isinstance(self.shown, LateArray) else self.shown

    def _paint(self, target: npt.NDArray[Any], index: int, value: int) -> None:
        target[self.masks[index].where][self.masks[index].pixels] = value

    def overlay(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3) RGB uint8: the image with each mask tinted and outlined, and its box."""
        return draw_objects(self.display, enumerate(self.masks), _known(self.boxes))


@dataclass(frozen=True, eq=False, repr=False)
class VolumeSegmentation(_Objects):
    """One mask per box of a volume, in the order of the boxes. A slice is a position along `axis`.

    Attributes:
        boxes: (N, 6) float32 x0, y0, z0, x1, y1, z1 in voxels, far edges exclusive, as used (clipped to the volume).
        scores: (N,) float32, the network's own estimate of each mask's IoU, about 0..1: the mean over its slices.
        slice_scores: (N, S) float32, that estimate on each of the S slices; NaN where the object was not looked for.
        masks: N mappings from slice to the mask there, cropped to where it is; `mask(i)` gives a full one.
        display: (D, H, W) uint8, the volume as a person would see it.
        axis: of the array, along which the slices lie: 0 axial, 1 coronal, 2 sagittal.
        modality: as told, or as the file says, or as recognised by a network with class prompts on the middle slice of
            the first box; None where unknown.
        timings_ms: milliseconds per stage, summed over slices: read, prepare, encode, decode, restore. Slices are
            encoded while others are decoded, so the sum is more than what a clock on the wall shows.
        overlap: who owns a voxel of several masks in `label_map`: the `later` box, or the higher `score`.
        frame: of the medical file the volume came from.
        modality_confidence, clicks, segmenter: as in `Segmentation`; clicks are x, y, z.
        logits: N mappings from slice to what the decoder gave there; without values where they were not kept.
        follow: whether a box was on one slice of its object.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    slice_scores: npt.NDArray[np.float32]
    masks: tuple[Mapping[int, CroppedMask], ...]
    display: npt.NDArray[np.uint8]
    axis: int
    modality: Modality | None
    timings_ms: Mapping[str, float]
    overlap: Overlap = "later"
    frame: Frame | None = None
    modality_confidence: float | None = None
    logits: tuple[Mapping[int, Logits], ...] = ()
    clicks: tuple[Clicks, ...] = ()
    segmenter: Any = None
    follow: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.display.shape

    def _paint(self, target: npt.NDArray[Any], index: int, value: int) -> None:
        slices = np.moveaxis(target, self.axis, 0)
        for z, mask in self.masks[index].items():
            slices[z][mask.where][mask.pixels] = value

    @property
    def middles(self) -> list[int]:
        """N slices: the one in the middle of those that each box was looked for on."""
        return [sorted(masks)[(len(masks) - 1) // 2] for masks in self.masks]

    def overlay(self, z: int | None = None) -> npt.NDArray[np.uint8]:
        """(rows, columns, 3) RGB uint8: slice z with each mask tinted and outlined, and the boxes that reach it.

        None takes the middle slice of the first box, or of the volume where there is none.

        Raises:
            InputError: there is no such slice.
        """
        slices = np.moveaxis(self.display, self.axis, 0)
        if z is None:
            z = self.middles[0] if len(self) else len(slices) // 2
        if not 0 <= z < len(slices):
            raise InputError(f"z: expected a slice from 0 to {len(slices) - 1}, got {z}")
        across = [column for column in range(3) if column != 2 - self.axis]  # x, y, z without the axis of the slices
        flat = self.boxes[:, [*across, *(3 + column for column in across)]]
        there = [index for index, masks in enumerate(self.masks) if z in masks]
        boxes = [(i, box) for i, box in _known(flat) if i in there]
        return draw_objects(slices[z], [(i, self.masks[i][z]) for i in there], boxes)


def _known(boxes: npt.NDArray[np.float32]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Number and box of the objects that have one."""
    return ((index, box) for index, box in enumerate(boxes) if not np.isnan(box[0]))
