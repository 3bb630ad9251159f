"""What is to be segmented: the rows of a table, or the images of a folder, as rows that can be sent to any machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from medsam_edge.cli.folder import job_of, jobs_of, refuse_shared
from medsam_edge.cli.segment import Job, names_of
from medsam_edge.errors import FileMissingError, InputError

TABLE_SUFFIXES = (".parquet", ".csv")
COLUMNS = ("image", "boxes", "modality", "output")


@dataclass(frozen=True)
class Row:
    """An image and the files that are made of it.

    Attributes:
        image: a path, or an address for fsspec, such as s3://bucket/scan.nii.gz.
        output, overlay: of its label map and its picture; paths that all machines share.
        boxes: a path or an address of a file of boxes, or the boxes as JSON; None for those that the image carries, or
            that the folder has for it.
        modality: None for that of the command.
    """

    image: str
    output: str
    overlay: str | None = None
    boxes: str | None = None
    modality: str | None = None

    def job(self, options: argparse.Namespace, image: Path | None = None) -> Job:
        """What `segment` makes of it; `image` is where it can be read, if that is elsewhere."""
        output, overlay = Path(self.output), None if self.overlay is None else Path(self.overlay)
        names = names_of(options, output)
        return Job(image or Path(self.image), output, overlay, options.series, names, options.binary)


def rows_of(options: argparse.Namespace) -> list[Row]:
    """The rows of a folder, of a table file, or of a table of pyarrow.

    Raises:
        InputError, FileMissingError: what is wrong with all of it: no table, no such column, two images of one name.
    """
    if options.part:
        raise InputError("--part: expected none, as the workers share all rows")
    source = options.image
    if not isinstance(source, Path):
        return _rows(source.to_pylist(), options, Path.cwd())
    if source.is_dir():
        return [_row(job) for job in jobs_of(options)]
    return _rows(_read(source), options, source.parent)


def _row(job: Job) -> Row:
    return Row(str(job.image), str(job.output), None if job.overlay is None else str(job.overlay))


def _read(file: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    if not file.exists():
        raise FileMissingError(f"table: no such file or folder: {file}")
    if file.suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(f"table: expected a folder or one of {' '.join(TABLE_SUFFIXES)}, got {file}")
    try:
        if file.suffix.lower() == ".parquet":
            table = parquet.read_table(file)
        else:
            strings = csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=True)
            table = csv.read_csv(file, convert_options=strings)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"table: cannot read {file}: {error}") from error
    return list(table.to_pylist())


def _rows(table: list[dict[str, Any]], options: argparse.Namespace, base: Path) -> list[Row]:
    """Rows of a table; paths are relative to `base`, outputs to the output folder."""
    if options.boxes is not None or options.box or options.point or options.prior:
        raise InputError("--boxes, --box, --point, --prior: expected none, as a table has a column boxes")
    if not table or "image" not in table[0]:
        raise InputError(
            "table: expected rows with a column image, and boxes, modality and output where they are known"
        )
    rows = [_table_row(number, row, options, base) for number, row in enumerate(table)]
    refuse_shared(row.job(options) for row in rows)
    return rows


def _table_row(number: int, row: Mapping[str, Any], options: argparse.Namespace, base: Path) -> Row:
    for name in ("image", "modality", "output"):
        if not isinstance(row.get(name), str | None) or (name == "image" and not row[name]):
            raise InputError(f"table: expected text as {name}, row {number} has {row.get(name)!r}")
    image, boxes = _place(row["image"], base), row.get("boxes")
    named = Path(PurePosixPath(image).name) if is_address(image) else Path(image)
    job = job_of(named, argparse.Namespace(**vars(options) | {"image": named.parent}))
    if row.get("output"):
        output = Path(options.output, row["output"])
        if options.output.resolve() not in output.resolve().parents:
            raise InputError(f"table: expected an output below {options.output}, row {number} has {row['output']}")
        overlay = options.overlay and (options.overlay / row["output"]).with_suffix(".png")
        job = replace(job, output=output, overlay=overlay)
    if boxes is not None and not isinstance(boxes, str):
        boxes = json.dumps(boxes)
    elif boxes is not None and not is_json(boxes):
        boxes = _place(boxes, base)
    return replace(_row(job), image=image, boxes=boxes, modality=row.get("modality"))


def is_address(text: str) -> bool:
    """Whether it is for fsspec, and no path."""
    return "://" in text


def is_json(boxes: str) -> bool:
    """Whether they are the boxes themselves, and no place of a file."""
    return boxes.lstrip().startswith("[")


def _place(text: str, base: Path) -> str:
    return text if is_address(text) else str(base / text)
