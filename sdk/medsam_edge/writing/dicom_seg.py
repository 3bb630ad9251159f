"""Label maps as DICOM SEG on the planes of the source files, by highdicom (the extra `dicom`)."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import FileMissingError, ImageError, InputError
from medsam_edge.image import Frame
from medsam_edge.version import __version__

NAME = "medsam-edge"


def dicom_seg(labels: npt.NDArray[np.uint16], frame: Frame | None) -> Any:
    """Make a DICOM SEG object (a pydicom dataset) with one binary segment per object that has pixels.

    Labels are (H, W), or (D, H, W) in the order of the frame's DICOM files; 0 background, 1..N the objects. Segments
    keep these numbers in their labels, "object 1" …; segment numbers have no gaps. An error says that highdicom is not
    installed, no object has pixels, or a source file is none, is gone, or lacks what a SEG refers to.
    """
    frame = check_source(frame)
    objects = np.unique(labels[labels > 0]).tolist()
    if not objects:
        raise ImageError("output: no object has pixels, and a DICOM SEG (.dcm) cannot be empty; try .nii.gz")
    import highdicom
    import pydicom

    planes = labels.reshape(-1, *labels.shape[-2:])
    if frame.dicom_frames:  # highdicom takes planes in the order of the file
        planes = planes[np.argsort(frame.dicom_frames)]
    refused = f"{frame.dicom_files[0]} cannot be the source of a DICOM SEG"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of values in the source files
            return highdicom.seg.Segmentation(
                source_images=[_source(file, frame) for file in frame.dicom_files],
                pixel_array=np.searchsorted([0, *objects], planes).astype(np.uint16),
                segmentation_type="BINARY",
                segment_descriptions=[_segment(number, name) for number, name in enumerate(objects, start=1)],
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
    except FileNotFoundError as error:
        raise FileMissingError(f"output: the image's DICOM file {error.filename} is gone") from error
    except AttributeError as error:
        raise ImageError(f"output: {refused}, it has no {error.name}") from error
    except (OSError, KeyError, TypeError, ValueError, pydicom.errors.InvalidDicomError) as error:
        raise ImageError(f"output: {refused}: {error}") from error


def check_source(frame: Frame | None) -> Frame:
    """Return the frame; ImageError if it is not of DICOM files, InputError if highdicom is not installed."""
    if frame is None or not frame.dicom_files:
        raise ImageError("output: .dcm would be a DICOM SEG, which needs an image read from DICOM; try .nii.gz")
    try:
        importlib.import_module("highdicom")
    except ImportError as error:
        raise InputError(f"output: DICOM SEG needs {error.name}: pip install 'medsam-edge[dicom]'") from error
    return frame


def _source(file: Path, frame: Frame) -> Any:
    """Read a file's header and add what highdicom insists on."""
    import pydicom

    source = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    if not source.get("SpecificCharacterSet"):  # it may be absent, but not empty
        source.pop("SpecificCharacterSet", None)
    if not source.get("SliceThickness"):
        source.SliceThickness = frame.spacing_mm[2]
    if source.get("NumberOfFrames", 1) > 1 and "PerFrameFunctionalGroupsSequence" not in source:
        raise ValueError("its frames have no positions")
    return source


def _segment(number: int, name: int) -> Any:
    """Describe a segment; Tissue is DICOM's code for a structure of unknown kind."""
    import highdicom
    from pydicom.sr.codedict import codes

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"object {name}",
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=NAME, family=codes.cid7162.ArtificialIntelligence, version=__version__
        ),
    )
