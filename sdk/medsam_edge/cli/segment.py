"""`medsam-edge segment` for one image, from file to mask. Folders (folder.py) take the same steps."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import is_volume
from medsam_edge.cli.boxes import boxes_of, numbers
from medsam_edge.cli.output import as_json, as_table, slices_shown
from medsam_edge.errors import BoxError, InputError, ModalityError
from medsam_edge.image import LoadedImage
from medsam_edge.intensity import WINDOWS, Window, to_display
from medsam_edge.modality import Modality
from medsam_edge.reading.read import load_image
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.segmenter import Segmenter
from medsam_edge.settings import Progress, Settings
from medsam_edge.writing.dicom_seg import check_source
from medsam_edge.writing.labels import label_writer
from medsam_edge.writing.picture import check_picture_suffix, write_picture

CHALLENGE_NAME = re.compile(r"[23]DBox_([^_]+)(_.*)?\.npz", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """An image, and the files that are made of it."""

    image: Path
    output: Path
    overlay: Path | None = None

    @property
    def files(self) -> list[Path]:
        return [self.output] if self.overlay is None else [self.output, self.overlay]


@dataclass(frozen=True)
class Choices:
    """What the options choose for every image.

    Attributes:
        modality: None where each file's header or name says it, or the network recognises it.
    """

    modality: Modality | None
    window: Window | None
    settings: Settings


def segment_file(options: argparse.Namespace) -> int:
    """`medsam-edge segment` for one image. What is wrong is raised before the model is loaded, where it can be."""
    if options.format:
        raise InputError("--format: is for folders; one image's label map is named by -o")
    choices = choices_of(options)
    job = Job(options.image, options.output, options.overlay)
    refuse_same([job.image, *job.files])
    label_writer(job.output)
    if job.overlay:
        check_picture_suffix(job.overlay)
    boxes = boxes_of(options.box, options.boxes)
    loaded = read_for(job, boxes, choices.settings.reduced_jpeg)
    segmenter = make_segmenter(options)
    with slices_shown() as progress:
        result = run_job(segmenter, job, loaded, boxes, choices, progress)
    print(json.dumps(as_json(result, job.output)) if options.json else as_table(result, job.output))
    return 0


def make_segmenter(options: argparse.Namespace) -> Segmenter:
    return Segmenter(options.bundle, device=options.device, num_threads=options.threads, cache_dir=options.cache_dir)


def choices_of(options: argparse.Namespace) -> Choices:
    """Raises InputError for what no image can have."""
    if options.reduced_jpeg and options.image.is_dir():
        raise InputError("--reduced-jpeg: is for one jpg, not for a folder")
    names = ("overlap", "axis", "streams", "stop_when_empty", "compat", "detail", "reduced_jpeg")
    settings = Settings(options.box_space or "pixel", **{name: getattr(options, name) for name in names})
    return Choices(Modality.parse(options.modality), _window(options.window), settings)


def _window(text: str | None) -> Window | None:
    if text is None or text in WINDOWS:
        return text
    if re.fullmatch(r"[a-z-]*", text, re.IGNORECASE):
        raise InputError(f"--window: expected LEVEL,WIDTH or one of {', '.join(WINDOWS)}, got {text!r}")
    level, width = numbers("--window", text, 2)
    to_display(np.zeros((1, 1), np.int16), window=(level, width))  # refuses what no image can be shown through
    return level, width


def refuse_same(paths: Sequence[Path]) -> None:
    """Raise InputError unless the image, its outputs, or their folders, are different paths."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"output: expected image, output and overlay apart, got {', '.join(map(str, paths))}")


def read_for(job: Job, boxes: npt.NDArray[np.float64] | None, reduced: bool = False) -> LoadedImage:
    """Read a job's image, and check that its label map can be written.

    Args:
        boxes: None for those that the image carries.
        reduced: whether a large jpg is decoded at a fraction of its size.

    Raises:
        BoxError: it carries none.
        ImageError: it cannot be read, or its label map cannot be written with this suffix.
        InputError: the suffix is dcm, and highdicom is not installed.
    """
    loaded = load_image(job.image, reduced)
    boxes = loaded.boxes if boxes is None else boxes
    if boxes is None:
        raise BoxError(f"boxes: {job.image} carries none; expected --box x0,y0,x1,y1 or --boxes")
    label_writer(job.output, 3 if is_volume(loaded, boxes) and not loaded.color else 2)
    if job.output.suffix.lower() == ".dcm":
        check_source(loaded.frame)
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
    modality = choices.modality or name_modality(job.image, segmenter.model.classes)
    options = vars(replace(choices.settings, progress=progress))
    result = segmenter.segment(loaded, boxes, modality, window=choices.window, **options)
    if job.overlay:
        write_picture(job.overlay, _overlay(result))
    result.save(job.output)
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
    from medsam_edge.cli.demo import contact_sheet

    return contact_sheet([result.overlay(z) for z in sorted(set(result.middles))])
