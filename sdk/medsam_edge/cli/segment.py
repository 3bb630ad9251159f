"""`medsam-edge segment`: its options, and one image from file to mask. Folders (batch.py) take the same steps."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import are_volume_boxes, box_array
from medsam_edge.cli.boxes import boxes_of, numbers
from medsam_edge.cli.output import as_json, as_table, slices_shown
from medsam_edge.errors import BoxError, InputError, ModalityError
from medsam_edge.image import LoadedImage
from medsam_edge.inference.volume import is_volume
from medsam_edge.intensity import WINDOWS, Window, to_display
from medsam_edge.modality import Modality
from medsam_edge.reading.read import read_image
from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.segmenter import Segmenter
from medsam_edge.settings import Compat, Progress, Settings
from medsam_edge.writing.dicom_seg import check_source
from medsam_edge.writing.labels import label_writer
from medsam_edge.writing.picture import check_picture_suffix, write_picture

CHALLENGE_NAME = re.compile(r"[23]DBox_([^_]+)(_.*)?\.npz", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """An image, and the files that are made of it."""

    image: Path
    output: Path
    overlay: Path | None = None

    @property
    def files(self) -> list[Path]:
        return [self.output] if self.overlay is None else [self.output, self.overlay]


@dataclass(frozen=True)
class Prompted:
    """An image that has been read, and its boxes.

    Attributes:
        boxes: (N, 4) or (N, 6), as `Segmenter.segment` wants them.
        carried: whether they are the file's own.
        read_ms: milliseconds that reading the image took.
    """

    loaded: LoadedImage
    boxes: npt.NDArray[Any]
    carried: bool
    read_ms: float


def segment_file(options: argparse.Namespace) -> int:
    """`medsam-edge segment` for one image; raises what is wrong, before the model is loaded where it can."""
    if options.format:
        raise InputError("--format: is for folders; one image's label map is named by -o")
    settings = settings_of(options)
    case = Case(options.image, options.output, options.overlay)
    refuse_same([case.image, *case.files])
    label_writer(case.output)
    if case.overlay:
        check_picture_suffix(case.overlay)
    prompted = prepare(case, boxes_of(options.box, options.boxes), options.compat)
    segmenter = make_segmenter(options)
    with slices_shown() as progress:
        result = run_case(segmenter, case, prompted, settings, progress)
    print(json.dumps(as_json(result, case.output)) if options.json else as_table(result, case.output))
    return 0


def make_segmenter(options: argparse.Namespace) -> Segmenter:
    return Segmenter(options.bundle, device=options.device, num_threads=options.threads, cache_dir=options.cache_dir)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `Segmenter.segment` that hold for every image; raises InputError for what none can have."""
    names = ("axis", "streams", "stop_when_empty", "compat", "overlap", "detail")
    chosen = {name: getattr(options, name) for name in names}
    Settings(**chosen)
    settings = {"modality": Modality.parse(options.modality), "window": _window(options.window), **chosen}
    return settings | ({"box_space": options.box_space} if options.box_space else {})


def _window(text: str | None) -> Window | None:
    if text is None or text in WINDOWS:
        return text
    if re.fullmatch(r"[a-z-]*", text, re.IGNORECASE):
        raise InputError(f"--window: expected LEVEL,WIDTH or one of {', '.join(WINDOWS)}, got {text!r}")
    level, width = numbers("--window", text, 2)
    to_display(np.zeros((1, 1), np.int16), window=(level, width))  # refuses what no image can be shown through
    return level, width


def refuse_same(paths: Sequence[Path]) -> None:
    """InputError where two of the image and its outputs, or of their folders, are one."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"output: expected image, output and overlay apart, got {', '.join(map(str, paths))}")


def prepare(case: Case, boxes: npt.NDArray[np.float64] | None, compat: Compat | None) -> Prompted:
    """Read an image and, where no boxes are given, take its own.

    Raises:
        BoxError: it carries none.
        ImageError: it cannot be read, or its label map not be written with this suffix.
        InputError: the suffix is dcm, and highdicom is not installed.
    """
    started = time.perf_counter()
    loaded = read_image(case.image)
    read_ms = (time.perf_counter() - started) * 1e3
    carried = boxes is None
    if boxes is None:
        boxes = _carried_boxes(case.image, loaded, compat)
    label_writer(case.output, 3 if is_volume(loaded, boxes) and not loaded.color else 2)
    if case.output.suffix.lower() == ".dcm":
        check_source(loaded.frame)
    return Prompted(loaded, boxes, carried, read_ms)


def _carried_boxes(image: Path, loaded: LoadedImage, compat: Compat | None) -> npt.NDArray[Any]:
    if loaded.boxes is None:
        raise BoxError(f"boxes: {image} carries none; expected --box x0,y0,x1,y1 or --boxes")
    if compat is None or not are_volume_boxes(loaded.boxes):
        return loaded.boxes
    written: npt.NDArray[np.float64] = box_array(loaded.boxes, 6) - np.eye(6)[5]
    return written  # z1 is the last slice, as in the file: `compat` adds that one itself


def run_case(
    segmenter: Segmenter, case: Case, prompted: Prompted, settings: dict[str, Any], progress: Progress | None
) -> Segmentation | VolumeSegmentation:
    """Segment an image and write its files, the label map last: where that is, all is."""
    own = {"modality": settings["modality"] or name_modality(case.image, segmenter.model.classes)}
    if prompted.carried and "box_space" in settings:
        own["box_space"] = "pixel"
    result = segmenter.segment(prompted.loaded, prompted.boxes, **(settings | own), progress=progress)
    result = replace(result, timings_ms={**result.timings_ms, "read": prompted.read_ms})
    if case.overlay:
        write_picture(case.overlay, _overlay(result))
    result.save(case.output)
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
