"""One viewer's image and its one object, as the viewer's user shapes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError, InputError
from medsam_edge.image import LoadedImage
from medsam_edge.inference.volume import volume_display
from medsam_edge.intensity import looks_like_ct
from medsam_edge.modality import Modality
from medsam_edge.reading.limits import check_size
from medsam_edge.results.mask import CroppedMask, cropped
from medsam_edge.results.result import VolumeSegmentation
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.masks import slices_of
from medsam_edge.server.nninteractive.changes import Change, change_between, union
from medsam_edge.server.nninteractive.interactions import (
    Area,
    Box,
    Clicked,
    Initial,
    Interaction,
    Shape,
    clicks_within,
)
from medsam_edge.server.nninteractive.strokes import flattest
from medsam_edge.server.restored import restored_volume
from medsam_edge.server.warned import collected
from medsam_edge.settings import Progress

UNDOABLE = 10
"""Former results that are kept. Each may take tens of megabytes of logits."""
THICK = 1.2
"""From this ratio of spacings on, slices lie along the axis of the larger one."""


class ViewerSession:
    """Interactions on one image, one after the other. Not safe for threads: the lease has a lock.

    Arrays come as [C, X, Y, Z], which are the axes of the viewer's array: X is the first axis of an array as SimpleITK,
    napari and 3D Slicer give it, along which the sdk takes slices. So nothing is turned but coordinates: the sdk names
    points x, y, z from the last axis on.

    Args:
        modality: of all images; None for what an image's properties say, else CT by its values, else unknown.
    """

    def __init__(self, segmenter: Segmenter, modality: Modality | None = None) -> None:
        self._segmenter, self._given = segmenter, modality
        self._image: LoadedImage | None = None
        self.modality: Modality | None = None  # of the image
        self._axis = 0
        self._waiting: list[Interaction] = []
        self._former: list[VolumeSegmentation | None] = []
        self._result: VolumeSegmentation | None = None
        self._sent: VolumeSegmentation | None = None
        self.dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> Shape:
        """Raises InputError before there is an image."""
        if self._image is None:
            raise InputError("image: expected set_image first")
        depth, height, width = self._image.pixels.shape
        return depth, height, width

    @property
    def pending(self) -> bool:
        """Whether interactions were noted and not carried out."""
        return bool(self._waiting)

    @property
    def axis(self) -> int:
        """Along which slices are taken where an interaction does not say it."""
        return self._axis

    def set_image(self, image: npt.NDArray[Any], properties: dict[str, Any]) -> None:
        """Take an image, [C, X, Y, Z] with one channel, and forget the one before.

        Raises:
            ImageError: several channels, or what the sdk refuses.
        """
        if image.ndim != 4 or image.shape[0] != 1:
            raise ImageError(f"image: expected [1, X, Y, Z], one channel, got shape {image.shape}")
        check_size("the array", image.shape[1:])
        voxels = image[0]
        named = properties.get("modality")
        self.modality = self._given or Modality.parse(named) or (Modality.CT if looks_like_ct(voxels) else None)
        self._axis = _slice_axis(voxels.shape, properties.get("spacing"))
        with collected():
            self._image = LoadedImage(volume_display(voxels, self.modality, None), color=False)
        self.reset()

    def set_target(self, shape: Sequence[int], dtype: str) -> None:
        """The buffer into which the viewer writes changes; it is empty.

        Raises:
            InputError: another shape than the image's, or neither bool nor whole numbers.
        """
        try:
            kind = np.dtype(dtype)
        except (TypeError, ValueError) as error:
            raise InputError(f"dtype: expected bool or an integer type, got {dtype!r}") from error
        if kind.kind not in "bui" or tuple(shape) != self.shape:
            raise InputError(f"target: expected whole numbers of shape {self.shape}, got {kind} of {tuple(shape)}")
        self.dtype, self._sent = kind, None

    def reset(self) -> None:
        """Forget the object. The viewer empties its buffer."""
        self._waiting, self._former = [], []
        self._result = self._sent = None

    def add(self, interaction: Interaction) -> None:
        """Note an interaction; `predict` carries it out."""
        _ = self.shape
        if isinstance(interaction, Initial):
            self._remember()
            self._waiting = []
            self._result = self._sent = self._from_mask(interaction.mask)
        else:
            self._waiting.append(interaction)

    def predict(self, progress: Progress | None = None) -> Change | None:
        """Carry out what was noted, in its order; returns what changed."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return None
        self._remember()
        try:
            with collected():
                for interaction in waiting:
                    self._result = self._applied(interaction, progress)
        except BaseException:
            self._result = self._former.pop()
            raise
        return self._change()

    def redo(self, progress: Progress | None = None) -> Change | None:
        """Decode the object anew with its mask as the prompt on each slice: for an initial segmentation."""
        if self._result is None:
            return None
        whole = self._result.mask(0)
        boxes = boxes_from_masks(whole.astype(np.uint8))
        if not len(boxes):
            return None
        self._result = self._segment(self._axis, progress, boxes=boxes, prior=whole)
        return self._change()

    def undo(self) -> tuple[bool, Change | None]:
        """Go back by one prediction, up to ten times; whether there was one."""
        if not self._former:
            return False, None
        self._result, self._waiting = self._former.pop(), []
        return True, self._change()

    def _remember(self) -> None:
        self._former = [*self._former[-UNDOABLE + 1 :], self._result]

    def _applied(self, interaction: Interaction, progress: Progress | None) -> VolumeSegmentation | None:
        """The object after an interaction."""
        if isinstance(interaction, Clicked):
            return self._clicked(interaction, progress)
        if isinstance(interaction, Initial) or not interaction.positive:
            return self._removed(interaction, progress)
        if isinstance(interaction, Box):
            flat = interaction.flat_axis(self._axis)
            axis = self._axis if flat is None else flat
            found = self._segment(axis, progress, boxes=[interaction.corners], follow=flat is not None)
        else:
            boxes = boxes_from_masks(interaction.mask.astype(np.uint8))
            if not len(boxes):
                return self._result
            axis = flattest(interaction.mask, self._axis)
            thin = boxes[0][5 - axis] - boxes[0][2 - axis] == 1
            found = self._segment(axis, progress, boxes=boxes, prior=interaction.mask, follow=bool(thin))
        return found if self._empty else self._joined(found)

    @property
    def _empty(self) -> bool:
        return self._result is None or not any(True for _ in slices_of(self._result, 0))

    def _clicked(self, clicked: Clicked, progress: Progress | None) -> VolumeSegmentation | None:
        if not len(clicked.places):
            return self._result
        points, labels = [clicked.points], [clicked.labels]
        if self._result is not None and not self._empty:
            return self._segmenter.refine(self._result, points=points, point_labels=labels)
        if not clicked.positive:  # there is nothing to take it from
            return self._result
        flat = [axis for axis in range(3) if np.ptp(clicked.places[:, axis]) == 0]
        axis = self._axis if self._axis in flat or not flat else flat[0]
        return self._segment(axis, progress, points=points, point_labels=labels)

    def _removed(self, interaction: Box | Area | Initial, progress: Progress | None) -> VolumeSegmentation | None:
        """What lies in a box or an outline is no part of the object: background clicks there."""
        if self._result is None:
            return None
        region = interaction.region(self.shape) if isinstance(interaction, Box) else interaction.mask
        return self._clicked(clicks_within(self._result.mask(0) & region), progress)

    def _segment(self, axis: int, progress: Progress | None, **prompts: Any) -> VolumeSegmentation:
        options: dict[str, Any] = {"axis": axis, "progress": progress, **prompts}
        result = self._segmenter.segment(self._image, options.pop("boxes", None), self.modality, **options)
        if not isinstance(result, VolumeSegmentation):
            raise ImageError(f"image: expected a volume, got shape {self.shape}")
        return result

    def _from_mask(self, mask: npt.NDArray[np.bool_]) -> VolumeSegmentation:
        if self._image is None or mask.shape != self.shape:
            raise InputError(f"initial_seg: expected shape {self.shape}, got {mask.shape}")
        return restored_volume(self._image.pixels, self._axis, _by_slice(mask, self._axis), self.modality)

    def _joined(self, found: VolumeSegmentation) -> VolumeSegmentation:
        """The object with another part of it. The parts' logits no longer fit, so corrections go on from the mask."""
        former = self._result
        if former is None:
            return found
        axis = former.axis
        masks = {z: mask for z, mask, _ in slices_of(former, 0)}
        for z, part in _by_slice(found.mask(0), axis).items():
            masks[z] = union(masks[z], part) if z in masks else part
        joined = restored_volume(former.display, axis, masks, former.modality)
        kept = {z: own for z, own in former.logits[0].items() if z in masks and masks[z] is former.masks[0].get(z)}
        return replace(
            joined,
            logits=({**joined.logits[0], **kept},),
            scores=np.minimum(former.scores, found.scores),
            clicks=former.clicks,
        )

    def _change(self) -> Change | None:
        """What the viewer does not have yet."""
        before, self._sent = self._sent, self._result
        return change_between(before, self._result)


def _by_slice(mask: npt.NDArray[np.bool_], axis: int) -> dict[int, CroppedMask]:
    """A (D, H, W) mask on each slice along an axis on which it is."""
    planes = np.moveaxis(mask, axis, 0)
    return {int(z): cropped(planes[z]) for z in np.flatnonzero(planes.any(axis=(1, 2)))}


def _slice_axis(shape: Sequence[int], spacing: Any) -> int:
    """The axis of a single slice, else that of the largest spacing, else the first."""
    if 1 in shape:
        return list(shape).index(1)
    try:
        steps = np.asarray(spacing, dtype=np.float64)
    except (TypeError, ValueError):
        return 0
    if steps.shape != (3,) or not np.isfinite(steps).all() or steps.max() < THICK * np.sort(steps)[1]:
        return 0
    return int(steps.argmax())
