"""The actor of a pool: one segmenter, and the images that are sent to it."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.cli.folder import segment_job
from medsam_edge.cli.segment import Choices, make_segmenter
from medsam_edge.cluster.journal import Journal, ended, lost
from medsam_edge.cluster.rows import Row, is_address, is_json
from medsam_edge.errors import InputError
from medsam_edge.modality import Modality
from medsam_edge.reading.limits import maximum_bytes

LIVES = 3
"""Workers that one image may cost, for want of memory or by a crash, before it counts as bad."""
CACHE_BYTES = 1 << 27
"""64 embeddings: enough for the slices of a volume that are asked for again; images do not come again."""
CHUNK_BYTES = 1 << 20


class Worker:
    """Segments batches of rows. A batch that is sent again, after a worker was lost, goes on where it stopped.

    Args:
        options: of the command, with `threads`.
        choices: see `medsam_edge.cli.segment.Choices`.
        run: name of this run, see `Journal`.
    """

    def __init__(self, options: argparse.Namespace, choices: Choices, run: str) -> None:
        cv2.setNumThreads(options.threads)
        self.segmenter = make_segmenter(options, CACHE_BYTES)
        self.options, self.choices = options, choices
        self.journal = Journal(options.output, run)
        self.ended, self.lost = ended(options.output, run), lost(options.output, run)

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        rows = [Row(**json.loads(text)) for text in batch["row"]]
        return {"report": np.array([json.dumps(self._once(row)) for row in rows], dtype=object)}

    def _once(self, row: Row) -> dict[str, Any]:
        if row.output in self.ended:
            return self.ended[row.output]
        if self.lost[row.output] >= LIVES:
            report = {"error": f"{LIVES} workers were lost on it, by a crash or for want of memory"}
        else:
            self.journal.begin(row.output)
            try:
                report = self._segment(row)
            except Exception as error:  # a bug, or a file system of fsspec: it stops nothing else
                report = {"error": f"{type(error).__name__}: {error}"}
        report = {"image": row.image, **report}
        self.journal.end(row.output, report)
        return report

    def _segment(self, row: Row) -> dict[str, Any]:
        modality, keywords = self.choices
        choices = (Modality.parse(row.modality) or modality, keywords)
        with tempfile.TemporaryDirectory() as folder:
            image = _local(row.image, Path(folder, "image"))
            boxes: Path | None = None
            if row.boxes is not None and is_json(row.boxes):
                boxes = Path(folder, "boxes.json")
                boxes.write_text(row.boxes, encoding="utf-8")
            elif row.boxes is not None:
                boxes = _local(row.boxes, Path(folder, "boxes"))
            job = row.job(self.options, image)
            report = segment_job(self.segmenter, job, choices, self.options, boxes)
            if "error" in report:
                report["error"] = report["error"].replace(str(image), row.image)
            return report


def _local(place: str, folder: Path) -> Path:
    """Where a file can be read: the path itself, or a copy in the folder of what is at an address."""
    return _fetch(place, folder) if is_address(place) else Path(place)


def _fetch(address: str, folder: Path) -> Path:
    """Copy a file to a folder; InputError if it is larger than any image may be."""
    import fsspec

    folder.mkdir()
    file = folder / PurePosixPath(address.partition("::")[0]).name
    limit = maximum_bytes()
    with fsspec.open(address, "rb") as source, file.open("wb") as target:
        size = getattr(source, "size", None)
        if size is not None and size > limit:
            raise InputError(f"image: expected at most {limit} bytes, {address} has {size}")
        while chunk := source.read(CHUNK_BYTES):
            target.write(chunk)
            if target.tell() > limit:  # some file systems do not know the size before
                raise InputError(f"image: expected at most {limit} bytes, {address} has more")
    return file
