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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from medsam_edge.cli.output import as_json, show_error, slices_shown, table
from medsam_edge.cli.segment import (
    Choices,
    Job,
    boxes_of,
    choices_of,
    make_segmenter,
    names_of,
    read_for,
    refuse_same,
    run_job,
)
from medsam_edge.errors import BoxError, FileMissingError, InputError, MedsamEdgeError, warn
from medsam_edge.reading.dicom.preamble import is_dicom
from medsam_edge.reading.suffixes import MEDICAL_SUFFIXES, PICTURE_SUFFIXES
from medsam_edge.segmenter import Segmenter
from medsam_edge.writing.labels import label_writer
from medsam_edge.writing.whole import writing_whole

SUFFIXES = sorted((*PICTURE_SUFFIXES, *MEDICAL_SUFFIXES, ".npz"), key=len, reverse=True)  # .nii.gz before .gz
OUTPUT_SUFFIXES = dict.fromkeys(PICTURE_SUFFIXES, ".png") | {".mhd": ".mha", ".dcm": ".nii.gz", "": ".nii.gz"}
BOX_SUFFIXES = (".json", ".csv")
RECORD = ".medsam-edge.json"
"""In an output folder: the settings that its label maps were made with."""
OUTCOMES = ("done", "skipped", "failed")


def is_batch(options: argparse.Namespace) -> bool:
    """Whether the image is a folder of images. It is one image where its own files, or without boxes by folder those
    below, are a DICOM series; other files beside the series are passed over, as in Python."""
    if not options.image.is_dir() or (options.boxes is not None and options.boxes.is_dir()):
        return bool(options.image.is_dir())
    files = _visible_files(options.image)
    if any(map(_is_dicom, files)):
        return False
    has_prompts = options.box or options.point or options.boxes is not None or options.series is not None
    others = any(_split(file.name)[1] for file in files)
    return others or not has_prompts or not any(_series_folders(options.image, set()))


def segment_folder(options: argparse.Namespace) -> int:
    """Segment every image; 0 when all are done, 1 when some failed. What is wrong with all of it is raised first."""
    choices, jobs = choices_of(options), jobs_of(options)
    segmenter = make_segmenter(options)
    keep_record(options, choices, segmenter, jobs)
    started = time.perf_counter()
    reports = []
    for number, job in enumerate(jobs, start=1):
        if not options.overwrite and all(file.exists() for file in job.files):
            _warn_of_newer(job, options.boxes)
            report: dict[str, Any] = {"output": str(job.output), "skipped": True}
        else:
            print(f"{number} of {len(jobs)}: {job.image.name}", file=sys.stderr, flush=True)
            report = _segment(segmenter, job, choices, options)
        report = {"image": str(job.image), **report}
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


def keep_record(options: argparse.Namespace, choices: Choices, segmenter: Segmenter, jobs: Sequence[Job]) -> None:
    """Write down what decides the masks of a folder; InputError where its masks were made with something else."""
    modality, keywords = choices
    chosen = {name: value for name, value in keywords.items() if name not in ("progress", "streams", "keep_logits")}
    now = {
        **chosen,
        "modality": modality,
        "box_format": options.box_format,
        "no_exif_rotation": options.no_exif_rotation,
        "model": segmenter.model.identity,
    }
    now = json.loads(json.dumps(now))
    file = options.output / RECORD
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none, or one that was changed by hand
        before = now
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    made = [job for job in jobs if job.output.exists()]
    if changed and made and not options.overwrite:
        differ = ", ".join(f"{name} {before[name]} (now {now[name]})" for name in changed)
        raise InputError(
            f"output: {len(made)} label maps in {options.output} were made with {differ}; expected the same settings, "
            "another folder or --overwrite"
        )
    with writing_whole(file) as partial:
        partial.write_text(json.dumps(now, indent=1), encoding="utf-8")


def _warn_of_newer(job: Job, boxes: Path | None) -> None:
    """Warn that an image or its boxes changed after its label map was made, which is passed over."""
    with suppress(MedsamEdgeError, OSError):
        sources = [path for path in (job.image, _box_file(job.image, boxes)) if path is not None and path.is_file()]
        made = job.output.stat().st_mtime_ns
        if newer := [path for path in sources if path.stat().st_mtime_ns > made]:
            warn(f"{newer[-1]} is newer than {job.output}, which is passed over; --overwrite makes it anew")


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
    jobs = [_job(image, options) for image in find_images(options.image, targets)]
    if not jobs:
        raise InputError(f"image: expected one of {' '.join(sorted(SUFFIXES))} or a DICOM folder in {options.image}")
    if options.boxes is None and not any(job.image.name.lower().endswith(".npz") for job in jobs):
        raise BoxError("boxes: expected --boxes DIR; only npz carry their own")
    owners: dict[Path, Path] = {}
    for job in jobs:
        for file in job.files:
            other = owners.setdefault(file, job.image)
            if other != job.image:
                raise InputError(f"output: {other.name} and {job.image.name} would both be written to {file}")
    return jobs


def find_images(folder: Path, excluded: Sequence[Path] = ()) -> list[Path]:
    """Files that `read_image` reads and the folders below with DICOM files, but those excluded and dot files, by
    name."""
    targets = {path.resolve() for path in excluded}
    files = [file for file in _visible_files(folder) if _split(file.name)[1] or _is_dicom(file)]
    files = [file for file in files if file.name != "DICOMDIR"]  # an index
    return sorted([*files, *_series_folders(folder, targets)])


def _series_folders(folder: Path, excluded: set[Path]) -> Iterator[Path]:
    """The folders below with DICOM files, at any depth, as PATIENT/STUDY/SERIES; links are followed once only."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name[0] != "." and path.resolve() not in excluded:
            if any(_is_dicom(file) for file in _visible_files(path) if file.name != "DICOMDIR"):
                yield path
            elif not path.is_symlink():
                yield from _series_folders(path, excluded)


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


def _job(image: Path, options: argparse.Namespace) -> Job:
    """Files of an image in a folder below go to a folder of the same name below."""
    suffix = "" if image.is_dir() else _split(image.name)[1]
    output = OUTPUT_SUFFIXES.get(suffix, suffix)
    if options.format:
        output = f".{options.format.removeprefix('.').lower()}"
        label_writer(Path(f"labels{output}"))
    name = str(image.parent.relative_to(options.image) / _name(image))
    target = options.output / f"{name}{output}"
    overlay = options.overlay and options.overlay / f"{name}.png"
    return Job(image, target, overlay, options.series, names_of(options, target), options.binary)


def _segment(segmenter: Segmenter, job: Job, choices: Choices, options: argparse.Namespace) -> dict[str, Any]:
    """Segment one image; the result, or the error of a bad one, as JSON. Anything else that is raised is a bug."""
    try:
        file = _box_file(job.image, _beside(job.image, options))
        with warnings.catch_warnings(), slices_shown() as progress:  # warnings once an image, not once a job
            own = boxes_of(options, job.image, file)
            return as_json(
                run_job(segmenter, job, read_for(job, own, options), own, choices, progress),
                job.output,
            )
    except (MedsamEdgeError, OSError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        show_error(f"{job.image.name}: {reason}")
        return {"error": reason}


def _beside(image: Path, options: argparse.Namespace) -> Path | None:
    """The folder of an image's boxes: in folders of the same names, for one that lies in folders below."""
    return None if options.boxes is None else Path(options.boxes) / image.parent.relative_to(options.image)


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
