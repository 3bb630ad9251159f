"""`medsam-edge segment` for a folder: every image in it, one after the other, with one model.

A job that was broken off goes on where it stopped, because a file is whole or not there. A bad image costs itself only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from medsam_edge.cli.output import as_json, show_error, slices_shown, table
from medsam_edge.cli.segment import Choices, Job, boxes_of, choices_of, make_segmenter, read_for, refuse_same, run_job
from medsam_edge.cli.workers import crew_of, part_of
from medsam_edge.errors import BoxError, FileMissingError, InputError, MedsamEdgeError
from medsam_edge.reading.dicom.preamble import is_dicom
from medsam_edge.reading.suffixes import MEDICAL_SUFFIXES, PICTURE_SUFFIXES
from medsam_edge.segmenter import Segmenter
from medsam_edge.writing.labels import label_writer

SUFFIXES = sorted((*PICTURE_SUFFIXES, *MEDICAL_SUFFIXES, ".npz"), key=len, reverse=True)  # .nii.gz before .gz
OUTPUT_SUFFIXES = dict.fromkeys(PICTURE_SUFFIXES, ".png") | {".mhd": ".mha", ".dcm": ".nii.gz", "": ".nii.gz"}
BOX_SUFFIXES = (".json", ".csv")
OUTCOMES = ("done", "skipped", "failed")


def is_batch(options: argparse.Namespace) -> bool:
    """Whether the image is a folder of images: not a DICOM series and nothing else, unless boxes come by folder."""
    if not options.image.is_dir():
        return False
    files = _visible_files(options.image)
    is_series = bool(files) and all(map(_is_dicom, files))
    return not is_series or (options.boxes is not None and options.boxes.is_dir())


def segment_folder(options: argparse.Namespace) -> int:
    """Segment every image; 0 when all are done, 1 when some failed. What is wrong with all of it is raised first."""
    choices, jobs = choices_of(options), jobs_of(options)
    jobs, crew = part_of(jobs, options.part), crew_of(options)
    segmenter = make_segmenter(options)
    started = time.perf_counter()
    reports = []
    work = partial(_report, total=len(jobs), choices=choices, options=options)
    for report in crew.map(work, list(enumerate(jobs, start=1)), segmenter):
        if options.json:
            print(json.dumps(report), flush=True)
        reports.append(report)
    counts = Counter("failed" if "error" in it else "skipped" if "skipped" in it else "done" for it in reports)
    seconds = time.perf_counter() - started
    if options.json:
        print(json.dumps({name: counts[name] for name in OUTCOMES} | {"seconds": round(seconds, 3)}), flush=True)
    else:
        print(table([(*OUTCOMES, "seconds"), (*(str(counts[name]) for name in OUTCOMES), f"{seconds:.1f}")]))
        for report in reports:
            if "error" in report:
                print(f"failed: {Path(report['image']).name}: {report['error']}")
    return 1 if counts["failed"] else 0


def _report(
    segmenter: Segmenter, numbered: tuple[int, Job], total: int, choices: Choices, options: argparse.Namespace
) -> dict[str, Any]:
    """Segment an image unless its files exist; as JSON."""
    number, job = numbered
    if not options.overwrite and all(file.exists() for file in job.files):
        return {"image": str(job.image), "output": str(job.output), "skipped": True}
    print(f"{number} of {total}: {job.image.name}", file=sys.stderr, flush=True)
    return {"image": str(job.image), **segment_job(segmenter, job, choices, options)}


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """The images of a folder, by name, and where their files go; refuses what no folder of images can have."""
    if options.point or options.prior:
        raise InputError("--point, --prior: are for one image, got a folder")
    if options.box:
        raise InputError("--box: is for one image; a folder takes --boxes DIR with NAME.json or NAME.csv")
    if options.boxes is not None and not options.boxes.is_dir():
        raise FileMissingError(f"--boxes: expected a folder, as the images are one, got {options.boxes}")
    targets = [path for path in (options.output, options.overlay) if path is not None]
    refuse_same([options.image, *targets])
    for path in targets:
        if _split(path.name)[1] or (path.exists() and not path.is_dir()):
            raise InputError(f"output: expected a folder, as {options.image} holds several images, got {path}")
    jobs = [job_of(image, options) for image in find_images(options.image, targets)]
    if not jobs:
        raise InputError(f"image: expected one of {' '.join(sorted(SUFFIXES))} or a DICOM folder in {options.image}")
    if options.boxes is None and not any(job.image.name.lower().endswith(".npz") for job in jobs):
        raise BoxError("boxes: expected --boxes DIR; only npz carry their own")
    refuse_shared(jobs)
    return jobs


def refuse_shared(jobs: Iterable[Job]) -> None:
    """Raise InputError where a file would be made of two images."""
    owners: dict[Path, Path] = {}
    for job in jobs:
        for file in job.files:
            other = owners.setdefault(file, job.image)
            if other != job.image:
                raise InputError(f"output: {other.name} and {job.image.name} would both be written to {file}")


def find_images(folder: Path, excluded: Sequence[Path] = ()) -> list[Path]:
    """Files that `read_image` reads and sub-folders with DICOM files, but those excluded and dot files, by name."""
    targets = {path.resolve() for path in excluded}
    files = [file for file in _visible_files(folder) if _split(file.name)[1] or _is_dicom(file)]
    folders = [
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name[0] != "." and path.resolve() not in targets
        if any(map(_is_dicom, _visible_files(path)))
    ]
    return sorted(files + folders)


def _visible_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name[0] != "." and path.is_file()]


def _is_dicom(file: Path) -> bool:
    with suppress(OSError):  # that it cannot be read is said only of what is an image by its name
        return is_dicom(file)
    return False


def _split(name: str) -> tuple[str, str]:
    """A file's name and its suffix in lower case; an empty one where it is none of `SUFFIXES`."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)], suffix


def _name(image: Path) -> str:
    return image.name if image.is_dir() else _split(image.name)[0]


def job_of(image: Path, options: argparse.Namespace) -> Job:
    """An image and the files that are made of it, named after it."""
    suffix = "" if image.is_dir() else _split(image.name)[1]
    output = OUTPUT_SUFFIXES.get(suffix, suffix)
    if options.format:
        output = f".{options.format.removeprefix('.').lower()}"
        label_writer(Path(f"labels{output}"))
    name = _name(image)
    return Job(image, options.output / f"{name}{output}", options.overlay and options.overlay / f"{name}.png")


def segment_job(
    segmenter: Segmenter, job: Job, choices: Choices, options: argparse.Namespace, boxes: Path | None = None
) -> dict[str, Any]:
    """Segment one image; the result, or the error of a bad one, as JSON. Anything else that is raised is a bug.

    `boxes` is the image's file of boxes; None looks for it where the options say.
    """
    try:
        file = boxes or _box_file(job.image, options.boxes)
        with warnings.catch_warnings(), slices_shown() as progress:  # warnings once an image, not once a job
            own = boxes_of([], file)
            return as_json(
                run_job(segmenter, job, read_for(job, own, choices[1]["reduced_jpeg"]), own, choices, progress),
                job.output,
            )
    except (MedsamEdgeError, OSError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        show_error(f"{job.image.name}: {reason}")
        return {"error": reason}


def _box_file(image: Path, folder: Path | None) -> Path | None:
    """An image's boxes file; None where it may have its own."""
    if folder is None:
        return None
    paths = [folder / f"{_name(image)}{suffix}" for suffix in BOX_SUFFIXES]
    found = [path for path in paths if path.exists()]
    if len(found) == 1:
        return found[0]
    if not found and image.name.lower().endswith(".npz"):
        return None
    raise BoxError(f"boxes: expected {' or '.join(map(str, paths))}, found {'both' if found else 'neither'}")
