"""Label maps as DICOM SEG on the planes of the source files, by highdicom (the extra `dicom`)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import FileMissingError, ImageError, InputError, MedsamEdgeError
from medsam_edge.image import Frame
from medsam_edge.version import __version__
from medsam_edge.writing.segments import Label, Segment, named

NAME = "medsam-edge"
MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip
"""Attributes of type 2: those that an anonymiser took out are written empty."""


def dicom_seg(labels: npt.NDArray[np.uint16], frame: Frame | None, names: Sequence[Label] | None = None) -> Any:
    """Make a DICOM SEG object (a pydicom dataset) with one binary segment per object that has pixels.

    Labels are (H, W), or (D, H, W) in the order of the frame's DICOM files; 0 background, 1..N the objects. `names` are
    those of objects 1..N (see `medsam_edge.writing.segments`); without them segments keep these numbers in their
    labels, "object 1" …; segment numbers have no gaps. An error says that highdicom is not installed, no object has
    pixels, or a source file is none, is gone, or lacks what a SEG refers to.
    """
    frame = _of_dicom(frame)
    objects = np.unique(labels[labels > 0]).tolist()
    if not objects:
        raise ImageError("output: no object has pixels, and a DICOM SEG (.dcm) cannot be empty; try .nii.gz")
    segments = named(names, max(objects) if names is None else len(names))
    if len(segments) < max(objects):
        raise InputError(f"labels: expected a name for each of {max(objects)} objects, got {len(segments)}")
    planes = labels.reshape(-1, *labels.shape[-2:])
    if frame.dicom_frames:  # highdicom takes planes in the order of the file
        planes = planes[np.argsort(frame.dicom_frames)]
    numbered = np.searchsorted([0, *objects], planes).astype(np.uint16)
    with _refusing(frame.dicom_files[0]):
        sources = [_source(file, frame) for file in frame.dicom_files]
        return _made(sources, numbered, [segments[number - 1] for number in objects])


def check_source(frame: Frame | None) -> Frame:
    """Return the frame; ImageError unless a SEG can be made for its first DICOM file, and the others are there,
    InputError if highdicom is not installed."""
    frame = _of_dicom(frame)
    with _refusing(frame.dicom_files[0]):
        source = _source(frame.dicom_files[0], frame)
        planes = np.zeros((int(source.get("NumberOfFrames") or 1), source.Rows, source.Columns), np.uint16)
        planes[0, 0, 0] = 1
        _made([source], planes, named(None, 1))
    for file in frame.dicom_files:
        if not file.exists():
            raise FileMissingError(f"output: the image's DICOM file {file} is gone")
    return frame


def _of_dicom(frame: Frame | None) -> Frame:
    if frame is None or not frame.dicom_files:
        raise ImageError("output: .dcm would be a DICOM SEG, which needs an image read from DICOM; try .nii.gz")
    try:
        importlib.import_module("highdicom")
    except ImportError as error:
        raise InputError(f"output: DICOM SEG needs {error.name}: pip install 'medsam-edge[dicom]'") from error
    return frame


@contextmanager
def _refusing(file: Path) -> Iterator[None]:
    """One error that names the source for what pydicom and highdicom raise."""
    import pydicom

    refused = f"{file} cannot be the source of a DICOM SEG"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of values in the source files
            yield
    except FileNotFoundError as error:
        raise FileMissingError(f"output: the image's DICOM file {error.filename} is gone") from error
    except AttributeError as error:
        raise ImageError(f"output: {refused}, it has no {error.name}") from error
    except (OSError, KeyError, TypeError, ValueError, pydicom.errors.InvalidDicomError) as error:
        if isinstance(error, MedsamEdgeError):
            raise
        raise ImageError(f"output: {refused}: {error}") from error


def _made(sources: list[Any], planes: npt.NDArray[np.uint16], segments: Sequence[Segment]) -> Any:
    """A SEG of planes in the order of the sources' frames, 1..N the segments."""
    import highdicom

    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=planes,
        segmentation_type="BINARY",
        segment_descriptions=[_segment(number, segment) for number, segment in enumerate(segments, start=1)],
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="SEGMENTATION",
        series_description=f"{NAME} segmentation",
    )


def _source(file: Path, frame: Frame) -> Any:
    """Read a file's header and add what highdicom insists on."""
    import pydicom

    source = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    if not source.get("SpecificCharacterSet"):  # it may be absent, but not empty
        source.pop("SpecificCharacterSet", None)
    if not source.get("SliceThickness"):
        source.SliceThickness = frame.spacing_mm[2]
    for keyword in MAY_BE_EMPTY:
        if keyword not in source:
            setattr(source, keyword, "")
    if source.get("NumberOfFrames", 1) > 1 and "PerFrameFunctionalGroupsSequence" not in source:
        raise ValueError("its frames have no positions")
    return source


def _segment(number: int, segment: Segment) -> Any:
    """Describe a segment; a person drew its box, so its algorithm is semi-automatic."""
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=highdicom.sr.CodedConcept(*segment.category),
        segmented_property_type=highdicom.sr.CodedConcept(*segment.kind),
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=NAME, family=codes.cid7162.ArtificialIntelligence, version=__version__
        ),
    )
