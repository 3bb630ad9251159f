"""`medsam-edge segment` for one image, from file to mask. Folders (folder.py) take the same steps."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import corners_of, is_volume
from medsam_edge.cli.box_files import read_boxes
from medsam_edge.cli.output import as_json, as_table, contact_sheet, slices_shown
from medsam_edge.errors import BoxError, InputError, ModalityError
from medsam_edge.image import LoadedImage
from medsam_edge.intensity import WINDOWS, Window, to_display
from medsam_edge.modality import Modality
from medsam_edge.reading.read import load_image, read_image
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.segmenter import Segmenter
from medsam_edge.settings import Progress, Settings
from medsam_edge.writing.dicom_seg import check_source
from medsam_edge.writing.labels import check_names, label_writer
from medsam_edge.writing.picture import check_picture_suffix, write_picture
from medsam_edge.writing.segments import named

CHALLENGE_NAME = re.compile(r"[23]DBox_([^_]+)(_.*)?\.npz", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """An image, and the files that are made of it."""

    image: Path
    output: Path
    overlay: Path | None = None
    series: str | None = None
    labels: Sequence[str] | None = None
    binary: bool = False

    @property
    def files(self) -> list[Path]:
        return [self.output] if self.overlay is None else [self.output, self.overlay]


Choices = tuple["Modality | None", dict[str, Any]]
"""A modality, None where each file says it or the network recognises it; and keywords of `Segmenter.segment`."""


def segment_file(options: argparse.Namespace) -> int:
    """`medsam-edge segment` for one image. What is wrong is raised before the model is loaded, where it can be."""
    if options.format:
        raise InputError("--format: is for folders; one image's label map is named by -o")
    choices = choices_of(options)
    names = names_of(options, options.output)
    job = Job(options.image, options.output, options.overlay, options.series, names, options.binary)
    refuse_same([job.image, *job.files])
    label_writer(job.output)
    if job.overlay:
        check_picture_suffix(job.overlay)
    boxes = boxes_of(options, job.image, options.boxes)
    loaded = read_for(job, boxes, options, bool(options.point))
    choices[1].update(prompts_of(options.point, options.prior, loaded, boxes))
    segmenter = make_segmenter(options)
    with slices_shown() as progress:
        result = run_job(segmenter, job, loaded, boxes, choices, progress)
    print(json.dumps(as_json(result, job.output)) if options.json else as_table(result, job.output))
    return 0


def names_of(options: argparse.Namespace, output: Path) -> list[str] | None:
    """What --labels calls the objects; InputError for an output that holds no names."""
    if options.labels is None:
        return None
    if options.binary:
        raise InputError("--labels: expected none with --binary, where all objects are one")
    check_names(output)
    return [name.strip() for name in options.labels.split(",")]


def make_segmenter(options: argparse.Namespace) -> Segmenter:
    return Segmenter(options.bundle, device=options.device, num_threads=options.threads, cache_dir=options.cache_dir)


def choices_of(options: argparse.Namespace) -> Choices:
    """Raises InputError for what no image can have."""
    names = ("overlap", "axis", "streams", "stop_when_empty", "compat", "detail", "follow", "reduced_jpeg", "clean")
    settings = Settings(options.box_space or "pixel", **{name: getattr(options, name) for name in names})
    return Modality.parse(options.modality), {**vars(settings), "window": _window(options.window)}


def _window(text: str | None) -> Window | None:
    if text is None or text in WINDOWS:
        return text
    if re.fullmatch(r"[a-z-]*", text, re.IGNORECASE):
        raise InputError(f"--window: expected LEVEL,WIDTH or one of {', '.join(WINDOWS)}, got {text!r}")
    level, width = _numbers("--window", text, 2)
    to_display(np.zeros((1, 1), np.int16), window=(level, width))  # refuses what no image can be shown through
    return level, width


def refuse_same(paths: Sequence[Path]) -> None:
    """Raise InputError unless the image, its outputs, or their folders, are different paths."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"output: expected image, output and overlay apart, got {', '.join(map(str, paths))}")


def read_for(
    job: Job, boxes: npt.NDArray[np.float64] | None, options: argparse.Namespace, clicked: bool = False
) -> LoadedImage:
    """Read a job's image, and check that it has boxes or clicks, and that a label map can be written.

    Args:
        boxes: None for those that the image carries.
        options: say whether a large jpg is decoded at a fraction of its size, and whether EXIF turns it.
        clicked: whether there are clicks, which need no box.
    """
    if job.series:
        loaded = read_image(job.image, job.series)
    else:
        loaded = load_image(job.image, options.reduced_jpeg, not options.no_exif_rotation)
    boxes = loaded.boxes if boxes is None else boxes
    if boxes is None and not clicked:
        raise BoxError(f"boxes: {job.image} carries none; expected --box x0,y0,x1,y1, --boxes or --point x,y")
    label_writer(job.output, 3 if is_volume(loaded, [] if boxes is None else boxes) and not loaded.color else 2)
    if job.output.suffix.lower() == ".dcm":
        check_source(loaded.frame)
        if job.labels is not None:
            named(job.labels, 1 if boxes is None else len(boxes))
    return loaded


def run_job(
    segmenter: Segmenter,
    job: Job,
    loaded: LoadedImage,
    boxes: npt.NDArray[np.float64] | None,
    choices: Choices,
    progress: Progress | None,
) -> Segmentation | VolumeSegmentation:
    """Segment an image and write its files, the label map last: where it exists, all exist."""
    modality, keywords = choices
    modality = modality or name_modality(job.image, segmenter.model.classes)
    result = segmenter.segment(loaded, boxes, modality, **keywords | {"progress": progress})
    if job.overlay:
        write_picture(job.overlay, _overlay(result))
    result.save(job.output, job.labels, job.binary)
    return result


def name_modality(image: Path, classes: Sequence[Modality] = ()) -> Modality | None:
    """What a challenge file's name says, `3DBox_MR_0621.npz`; None where nothing, or what is no class of the model."""
    match = CHALLENGE_NAME.fullmatch(image.name)
    try:
        named = Modality.parse(match[1]) if match else None
    except ModalityError:
        return None
    return named if named in classes or not classes else None


def _overlay(result: Segmentation | VolumeSegmentation) -> npt.NDArray[np.uint8]:
    if isinstance(result, Segmentation) or not len(result):
        return result.overlay()
    return contact_sheet([result.overlay(z) for z in sorted(set(result.middles))])


def boxes_of(options: argparse.Namespace, image: Path, file: Path | None) -> npt.NDArray[np.float64] | None:
    """(N, 4) or (N, 6) corners, first those of --box, then those of the file; None if neither is given."""
    form, rows = options.box_format or "xyxy", [_numbers("--box", text, 4, 6) for text in options.box]
    if options.compat and form != "xyxy" and any(len(row) == 6 for row in rows):
        raise InputError(f"--box-format: expected xyxy, as --compat takes the last slice, got {form}")
    rows = [np.asarray(corners_of([row], form))[0].tolist() for row in rows]
    if file is not None:
        rows += read_boxes(file, image, options.box_format, last_slice=options.compat is not None)
    elif not rows:
        return None
    columns = len(rows[0]) if rows else 4
    for number, row in enumerate(rows):
        if len(row) != columns:
            raise BoxError(f"boxes: expected {columns} numbers, as in the first box, box {number} has {len(row)}")
    return np.asarray(rows, dtype=np.float64).reshape(-1, columns)


def prompts_of(
    texts: Sequence[str], prior: Path | None, loaded: LoadedImage, boxes: npt.NDArray[np.float64] | None
) -> dict[str, Any]:
    """Keywords of `Segmenter.segment` for --point and --prior. Clicks are on one object, with a box or without."""
    prompts: dict[str, Any] = {}
    boxes = loaded.boxes if boxes is None else boxes
    if texts:
        if boxes is not None and len(boxes) != 1:
            raise InputError(f"--point: expected one box or none, got {len(boxes)}")
        sides = 3 if is_volume(loaded, [] if boxes is None else boxes) and not loaded.color else 2
        rows = [_numbers("--point", text, sides, sides + 1) for text in texts]
        prompts = {
            "points": [[row[:sides] for row in rows]],
            "point_labels": [[row[sides] if len(row) > sides else 1 for row in rows]],
        }
    return prompts if prior is None else {**prompts, "prior": read_image(prior).pixels}


def _numbers(option: str, text: str, *counts: int) -> list[float]:
    """Parse an option's numbers; InputError unless there are as many as one of `counts`."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in counts:
        raise InputError(
            f"{option}: expected {' or '.join(map(str, counts))} numbers separated by commas, got {text!r}"
        )
    return found
