"""Results that outlive the server: in the output folder, a label map for people and a JSON file to go on from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medsam_edge.errors import ImageError
from medsam_edge.prompts import Clicks
from medsam_edge.results.mask import EMPTY, CroppedMask
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.server import schemas
from medsam_edge.server.errors import NotSaved
from medsam_edge.server.export import Named, label_map, plane_shape
from medsam_edge.server.held import HeldImage, window_of
from medsam_edge.server.masks import Kept, Result, axis_of, described_object, from_runs
from medsam_edge.server.restored import no_logits, restored_volume
from medsam_edge.writing.labels import write_labels
from medsam_edge.writing.whole import writing_whole

MOST_BYTES = 256 << 20
"""Of a saved JSON file that is read again."""


class SavedObject(BaseModel):
    """One object, with all that a correction needs but the logits."""

    model_config = ConfigDict(extra="ignore")
    name: str = ""
    color: str = ""
    box: list[float] | None
    score: float
    axis: schemas.AxisNumber
    follow: bool
    clicks: list[schemas.Click]
    shown: schemas.Shown
    regions: list[schemas.Region]


class SavedImage(BaseModel):
    """The JSON file."""

    version: int = Field(default=1, ge=1, le=1)
    image: str
    file: str
    shape: list[int]
    labels: str
    objects: list[SavedObject]


class SavedResults:
    """The output folder. Files appear whole; what was saved of the same image before is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, held: HeldImage) -> bool:
        return self._path(held).is_file()

    def save(self, held: HeldImage, objects: Sequence[Named], shown: Sequence[schemas.Shown]) -> str:
        """Returns the label map's name in the folder.

        Raises:
            ImageError: the folder cannot be written to.
        """
        suffix = ".nrrd" if held.volume or held.loaded.frame else ".png"
        labels = f"{re.sub(r'[^A-Za-z0-9_-]+', '_', held.name.split('.')[0])[:64]}-{held.id[:8]}{suffix}"
        content = SavedImage(
            image=held.id,
            file=held.name,
            shape=list(held.shape),
            labels=labels,
            objects=[_to_save(own, choice) for own, choice in zip(objects, shown, strict=True)],
        )
        write_labels(self.folder / labels, label_map(held, objects), held.loaded.frame)
        with writing_whole(self._path(held)) as partial:
            partial.write_text(content.model_dump_json(), encoding="utf-8")
        return labels

    def load(self, held: HeldImage, client: str) -> tuple[str, list[tuple[SavedObject, Kept]]]:
        """The label map's name, and each object as a result of its own.

        Raises:
            NotSaved: nothing was saved of this image.
            ImageError: the file is damaged.
        """
        path = self._path(held)
        if not path.is_file():
            raise NotSaved("image: nothing was saved of it")
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES} bytes")
            content = SavedImage.model_validate(json.loads(path.read_text(encoding="utf-8")))
            if tuple(content.shape) != held.shape or content.image != held.id:
                raise ValueError("it is of another image")
            kept = [Kept(held.id, client, _restored(held, own), own.shown) for own in content.objects]
        except (OSError, ValueError) as error:  # pydantic's error is a ValueError
            raise ImageError(f"saved: cannot read {path.name}: {str(error).splitlines()[0]}") from error
        return content.labels, list(zip(content.objects, kept, strict=True))

    def _path(self, held: HeldImage) -> Path:
        """By content alone, so that a renamed file finds its results."""
        return self.folder / f"{held.id[:32]}.json"


def _to_save(own: Named, shown: schemas.Shown) -> SavedObject:
    result, index = own.result, own.index
    described = described_object(result, index)
    return SavedObject(
        name=own.name,
        color=own.color,
        box=described.box,
        score=described.score,
        axis=axis_of(result),  # type: ignore[arg-type]
        follow=isinstance(result, VolumeSegmentation) and result.follow,
        clicks=described.clicks,
        shown=shown,
        regions=described.regions,
    )


def _restored(held: HeldImage, own: SavedObject) -> Result:
    """A result with one object; corrections go on from its mask.

    ValueError where the file does not fit the image.
    """
    modality = held.modality(own.shown.modality)
    display = held.shown(modality, window_of(own.shown.window)).pixels
    dimensions = len(held.shape)
    height, width = plane_shape(held, own.axis)
    masks: dict[int, CroppedMask] = {}
    for part in own.regions:
        if min(part.top, part.left, part.slice, part.height, part.width) < 0:
            raise ValueError("negative position")
        if part.top + part.height > height or part.left + part.width > width:
            raise ValueError("a mask outside the image")
        masks[part.slice] = CroppedMask(part.top, part.left, from_runs(part.counts, part.height, part.width))
    depth = held.shape[own.axis] if dimensions == 3 else 1
    if masks and max(masks) >= depth:
        raise ValueError("a mask outside the image")
    points = np.array([click.point for click in own.clicks], dtype=np.float32).reshape(-1, dimensions)
    clicks = Clicks(points, np.array([click.label for click in own.clicks], dtype=np.int64))
    boxes = np.full((1, 2 * dimensions), np.nan, np.float32)
    if own.box is not None:
        boxes[0] = own.box
    view = (0, 0, height, width)
    common: dict[str, Any] = {
        "boxes": boxes,
        "scores": np.array([own.score], dtype=np.float32),
        "modality": modality,
        "timings_ms": {},
        "frame": held.loaded.frame,
        "clicks": (clicks,),
    }
    if dimensions == 2:
        return Segmentation(masks=(masks.get(0, EMPTY),), shown=display, logits=(no_logits(view),), **common)
    volume = restored_volume(display, own.axis, masks, modality)
    for part in own.regions:
        volume.slice_scores[0, part.slice] = np.nan if part.score is None else part.score
    return replace(volume, follow=own.follow, **common)
