"""Label maps → files, by suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame
from medsam_edge.reading.limits import itk_path
from medsam_edge.reading.medical import read_medical
from medsam_edge.writing.picture import write_picture
from medsam_edge.writing.whole import writing_whole

STEP_TOLERANCE = 1e-3
"""Of a pixel, what a step along an axis of a saved file may differ by: headers of images have a few decimals only."""


def write_labels(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    """Write a label map by suffix: png/tif/bmp, npz (`segs`, the challenge's name), or a medical file with its frame.

    Raises:
        ImageError: an unknown suffix, jpg, which would change the labels, or a picture's for a volume; or the folder
            takes no file.
    """
    label_writer(path, labels.ndim)(path, labels, frame)


def label_writer(path: Path, dimensions: int = 2) -> _Writer:
    """The function that writes a label map of two or three dimensions to a path of this suffix.

    Raises:
        ImageError: none does, or ITK could not open the path.
    """
    writers = [item for item in _LABEL_WRITERS if dimensions == 2 or item[1] is not _write_labels_picture]
    for suffixes, writer in writers:
        if path.name.lower().endswith(suffixes):
            if writer is _write_labels_medical:
                itk_path(path)
            return writer
    known = " ".join(suffix for suffixes, _ in writers for suffix in suffixes)
    raise ImageError(f"output: expected one of {known}{' for a volume' * (dimensions == 3)}, got {path.name}")


def _write_labels_picture(path: Path, labels: npt.NDArray[np.uint16], _: Frame | None) -> None:
    write_picture(path, labels.astype(np.uint8) if labels.max(initial=0) < 256 else labels)


def _write_labels_npz(path: Path, labels: npt.NDArray[np.uint16], _: Frame | None) -> None:
    with writing_whole(path) as partial:
        np.savez_compressed(partial, segs=labels)


def _write_labels_medical(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    import SimpleITK as sitk

    three = labels.ndim == 2 and frame is not None and len(frame.spacing_mm) == 3
    image = sitk.GetImageFromArray(labels[None] if three else labels)
    if frame is not None:
        image.SetSpacing(frame.spacing_mm)
        image.SetOrigin(frame.origin_mm)
        image.SetDirection(frame.direction)
    with writing_whole(path) as partial:
        sitk.WriteImage(image, itk_path(partial), True)
        held = read_medical(partial).frame  # ITK does not notice a full disk, and makes the axes of NIfTI straight
        wanted = Frame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        if held and (np.abs(_steps(held) - _steps(wanted)) > STEP_TOLERANCE * np.array(wanted.spacing_mm)).any():
            raise ImageError("output: NIfTI cannot hold this image's axes, not at right angles; use .nrrd or .mha")


def _steps(frame: Frame) -> npt.NDArray[np.float64]:
    """(n, n) mm from a pixel to the next one, an axis in each column."""
    return np.reshape(frame.direction, (len(frame.spacing_mm),) * 2) * frame.spacing_mm


def _write_labels_dicom(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    from medsam_edge.writing.dicom_seg import dicom_seg

    dataset = dicom_seg(labels, frame)
    with writing_whole(path) as partial:
        dataset.save_as(partial)


_Writer = Callable[[Path, npt.NDArray[np.uint16], "Frame | None"], None]


_LABEL_WRITERS: tuple[tuple[tuple[str, ...], _Writer], ...] = (
    ((".png", ".tif", ".tiff", ".bmp"), _write_labels_picture),
    ((".npz",), _write_labels_npz),
    ((".nii", ".nii.gz", ".nrrd", ".mha"), _write_labels_medical),
    ((".dcm",), _write_labels_dicom),
)
