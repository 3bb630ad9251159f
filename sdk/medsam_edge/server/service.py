"""What the REST API does, without HTTP: open, show, segment, correct, save."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medsam_edge.errors import InputError
from medsam_edge.intensity import WINDOWS
from medsam_edge.modality import Modality
from medsam_edge.reading.suffixes import MEDICAL_SUFFIXES, PICTURE_SUFFIXES
from medsam_edge.segmenter import Segmenter
from medsam_edge.server import schemas
from medsam_edge.server.errors import NotSaved, Unknown
from medsam_edge.server.export import Named
from medsam_edge.server.held import HeldImage, ServedFolder, files_of, identity_of, read_held, receive, window_of
from medsam_edge.server.limits import Limits
from medsam_edge.server.masks import Kept, Result, described, region, section
from medsam_edge.server.saved import SavedResults
from medsam_edge.server.store import Store
from medsam_edge.server.warned import collected
from medsam_edge.server.work import Deadline, Jobs, Queue
from medsam_edge.version import __version__
from medsam_edge.writing.picture import as_png


class Service:
    """One server's images, results and threads.

    Args:
        segmenter: shared by all threads.
        limits: budgets.
        served: folder or file whose images may be opened; None for none.
        output: folder for saved results; None where nothing is saved.
    """

    def __init__(
        self, segmenter: Segmenter, limits: Limits, served: Path | None = None, output: Path | None = None
    ) -> None:
        self.segmenter, self.limits = segmenter, limits
        self.store = Store(limits)
        self.jobs = Jobs(limits)
        self.segmenting = Queue("segment", limits.workers, limits.queue)
        self.reading = Queue("read", 1, limits.queue)  # one at a time: a large image is in memory twice while read
        self.drawing = Queue("draw", limits.workers, 4 * limits.queue)
        self.served = ServedFolder(served) if served else None
        self.saved = SavedResults(output) if output else None
        self._folder = tempfile.TemporaryDirectory(prefix="medsam-edge-")

    def close(self) -> None:
        """End the threads, delete the uploads."""
        with ThreadPoolExecutor(4) as closing:
            list(closing.map(lambda own: own.close(), (self.jobs, self.segmenting, self.reading, self.drawing)))
        self.store.clear()
        self._folder.cleanup()

    def info(self) -> schemas.ServerInfo:
        return schemas.ServerInfo(
            version=__version__,
            model=self.segmenter.model.identity,
            prompts=list(self.segmenter.model.prompts),
            modalities=[modality.value for modality in Modality],
            windows=dict(WINDOWS),
            upload_bytes=self.limits.upload_bytes,
            suffixes=[*PICTURE_SUFFIXES, *MEDICAL_SUFFIXES, ".npz"],
            formats=list(schemas.FORMATS),
            serves_folder=self.served is not None,
            saves=self.saved is not None,
        )

    def files(self) -> list[schemas.ServedFile]:
        found = self.served.list() if self.served else []
        return [schemas.ServedFile(file=name, bytes=_size(path)) for name, path in found]

    def upload(self, files: Sequence[tuple[str, BinaryIO]], client: str) -> schemas.Image:
        folder = Path(self._folder.name) / uuid.uuid4().hex
        identity, name, path = receive(files, folder)
        held = read_held(path, identity, name, folder)
        return self.described(self.store.add(held, client))

    def open(self, file: str, client: str) -> schemas.Image:
        if self.served is None:
            raise Unknown("file: the server serves no folder")
        path = self.served.find(file)
        return self.described(self.store.add(read_held(path, identity_of(path), path.name), client))

    def described(self, held: HeldImage) -> schemas.Image:
        loaded = held.loaded
        frame, boxes = loaded.frame, loaded.boxes
        return schemas.Image(
            id=held.id,
            name=held.name,
            shape=list(held.shape),
            volume=held.volume,
            color=not held.volume and loaded.pixels.ndim == 3,
            dtype=str(loaded.pixels.dtype),
            range=held.range,
            modality=loaded.modality and loaded.modality.value,
            spacing_mm=list(frame.spacing_mm) if frame else None,
            direction=list(frame.direction) if frame else None,
            boxes=None if boxes is None else np.asarray(boxes, dtype=np.float64).tolist(),
            saved=bool(self.saved and self.saved.has(held)),
            warnings=list(held.warnings),
        )

    def picture(self, held: HeldImage, number: int, axis: int, shown: schemas.Shown) -> bytes:
        """PNG of a slice."""
        png = as_png(held.plane(number, axis, held.modality(shown.modality), window_of(shown.window)))
        self.store.trim(held.id)
        return png

    def embed(self, held: HeldImage, request: schemas.EmbedRequest) -> schemas.Embedded:
        modality = held.modality(request.modality)
        shown = held.shown(modality, window_of(request.window)).pixels
        if held.volume:
            planes = np.moveaxis(shown, request.axis, 0)
            if request.slice >= len(planes):
                raise Unknown(f"slice: expected 0 to {len(planes) - 1}, got {request.slice}")
            shown = planes[request.slice]
        embedding = self.segmenter.embed(shown, modality)
        found, confidence = embedding.class_prompt
        return schemas.Embedded(
            modality=found and found.value, modality_confidence=confidence, timings_ms=dict(embedding.timings_ms)
        )

    def segment(
        self, held: HeldImage, request: schemas.SegmentRequest, client: str, progress: Deadline
    ) -> schemas.SegmentationInfo:
        modality = held.modality(request.modality)
        prior = None if request.prior is None else self.store.result(request.prior)
        if prior is not None and prior.image != held.id:
            raise InputError("prior: expected a segmentation of the same image")
        with collected() as warnings:
            result = self.segmenter.segment(
                held.shown(modality, window_of(request.window)),
                request.boxes,
                modality,
                points=request.points,
                point_labels=request.point_labels,
                prior=prior and prior.result,
                axis=request.axis,
                follow=request.follow,
                detail=request.detail,
                overlap=request.overlap,
                progress=progress,
            )
        shown = schemas.Shown(modality=request.modality, window=request.window)
        kept = Kept(held.id, client, result, shown, warnings=tuple(warnings))
        return described(self.store.keep(kept))

    def refine(self, former: Kept, request: schemas.RefineRequest, client: str) -> schemas.SegmentationInfo:
        with collected() as warnings:
            result: Result = self.segmenter.refine(  # type: ignore[type-var]
                former.result, points=request.points, point_labels=request.point_labels
            )
        kept = Kept(former.image, client, result, former.shown, former.id, tuple(warnings))
        return described(self.store.keep(kept))

    def found(self, key: str) -> schemas.SegmentationInfo:
        return described(self.store.result(key))

    def sections(self, kept: Kept, number: int, axis: int) -> list[schemas.SliceObject]:
        """Each object's mask on a slice along any axis."""
        objects = []
        for index in range(len(kept.result)):
            mask = section(kept.result, index, number, axis)
            objects.append(schemas.SliceObject(index=index, region=None if mask.empty else region(number, mask, None)))
        return objects

    def chosen(self, held: HeldImage, objects: Sequence[schemas.Chosen]) -> list[tuple[Named, Kept]]:
        """Raises InputError for an object of another image, or that there is not."""
        found = []
        for number, own in enumerate(objects):
            kept = self.store.result(own.segmentation)
            if kept.image != held.id or own.index >= len(kept.result):
                raise InputError(f"objects[{number}]: expected an object of this image, got {own.index}")
            found.append((Named(kept.result, own.index, own.name, own.color), kept))
        return found

    def save(self, held: HeldImage, request: schemas.SaveRequest, client: str) -> schemas.Saved:
        if self.saved is None:
            raise NotSaved("saved: the server saves nothing")
        found = self.chosen(held, request.objects)
        self.saved.save(held, [own for own, _ in found], [kept.shown for _, kept in found])
        return self.load(held, client)

    def load(self, held: HeldImage, client: str) -> schemas.Saved:
        """What was saved, each object as a result of its own."""
        if self.saved is None:
            raise NotSaved("saved: the server saves nothing")
        labels, objects = self.saved.load(held, client)
        for _, kept in objects:
            self.store.keep(kept)
        return schemas.Saved(
            file=labels,
            objects=[schemas.Chosen(segmentation=kept.id, name=own.name, color=own.color) for own, kept in objects],
            segmentations=[described(kept) for _, kept in objects],
        )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in files_of(path))
