"""Write a label map to a file; the suffix says in which format."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError, InputError
from medsam_edge.image import Frame
from medsam_edge.reading.itk import itk_path
from medsam_edge.reading.medical import read_medical
from medsam_edge.writing.dicom_seg import dicom_seg
from medsam_edge.writing.nifti import write_nifti
from medsam_edge.writing.palette import write_label_png
from medsam_edge.writing.picture import write_picture
from medsam_edge.writing.segments import Label
from medsam_edge.writing.whole import writing_whole

LabelWriter = Callable[[Path, npt.NDArray[np.uint16], "Frame | None"], None]
"""Writes a label map with its frame to a path."""

STEP_TOLERANCE = 1e-3
"""Pixels by which the position of the next pixel may change in a file: headers keep only a few decimals."""


def write_labels(
    path: Path,
    labels: npt.NDArray[np.uint16],
    frame: Frame | None,
    names: Sequence[Label] | None = None,
    binary: bool = False,
) -> None:
    """Write a label map, (H, W) or (D, H, W), 0 background, 1..N the objects; medical files keep the frame.

    A png of up to 255 objects has a palette. `names` of the objects are for DICOM SEG. `binary` writes all objects as
    one, 255 in pictures and 1 elsewhere. ImageError for an unknown suffix, jpg (it would change the labels), a
    volume as a picture, or a failed write; InputError for names in another format, or of one object.
    """
    if binary and names is not None:
        raise InputError("labels: expected none with binary, where all objects are one")
    writer = label_writer(path, labels.ndim)
    if names is None:
        (_write_binary if binary else writer)(path, labels, frame)
        return
    check_names(path)
    _write_dicom(path, labels, frame, names)


def check_names(path: Path) -> None:
    """Raise InputError for a format that holds no names of objects."""
    if not path.name.lower().endswith(".dcm"):
        raise InputError(f"labels: only a DICOM SEG (.dcm) holds names, got {path.name}")


def label_writer(path: Path, dimensions: int = 2) -> LabelWriter:
    """Return the function that writes label maps of two or three dimensions to a path; ImageError if none can."""
    writers = [item for item in _WRITERS if dimensions == 2 or item[1] is not _write_picture]
    for suffixes, writer in writers:
        if path.name.lower().endswith(suffixes):
            if writer is _write_medical:
                itk_path(path)
            return writer
    known = " ".join(suffix for suffixes, _ in writers for suffix in suffixes)
    raise ImageError(f"output: expected one of {known}{' for a volume' * (dimensions == 3)}, got {path.name}")


def _write_picture(path: Path, labels: npt.NDArray[np.uint16], _: Frame | None) -> None:
    small = labels.max(initial=0) < 256
    if small and path.name.lower().endswith(".png"):
        write_label_png(path, labels.astype(np.uint8))
    else:
        write_picture(path, labels.astype(np.uint8) if small else labels)


def _write_binary(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    """All objects as one: 255 in a picture, 1 elsewhere."""
    writer, inside = label_writer(path, labels.ndim), labels > 0
    if writer is _write_picture:
        write_picture(path, inside * np.uint8(255))
    else:
        writer(path, inside.astype(np.uint16), frame)


def _write_npz(path: Path, labels: npt.NDArray[np.uint16], _: Frame | None) -> None:
    with writing_whole(path) as partial:
        # np.savez_compressed takes twice as long: it packs at level 6
        archive = zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        with archive, archive.open("segs.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, labels, allow_pickle=False)


def _write_medical(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    import SimpleITK as sitk

    is_slice_of_volume = labels.ndim == 2 and frame is not None and len(frame.spacing_mm) == 3
    image = sitk.GetImageFromArray(labels[None] if is_slice_of_volume else labels)
    if frame is not None:
        image.SetSpacing(frame.spacing_mm)
        image.SetOrigin(frame.origin_mm)
        image.SetDirection(frame.direction)
    with writing_whole(path) as partial:
        volume = labels[None] if is_slice_of_volume else labels
        is_nifti = partial.name.endswith((".nii", ".nii.gz"))
        if is_nifti and frame is not None and frame.nifti:
            write_nifti(partial, volume, frame)
            return
        sitk.WriteImage(image, itk_path(partial), True)
        held = read_medical(partial).frame  # ITK does not notice a full disk, and its NIfTI drops a shear of the axes
        wanted = Frame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        if held and (np.abs(_steps(held) - _steps(wanted)) > STEP_TOLERANCE * np.array(wanted.spacing_mm)).any():
            if not (is_nifti and volume.ndim == 3):
                raise ImageError("output: this format cannot hold the image's axes, not at right angles")
            write_nifti(partial, volume, wanted)


def _steps(frame: Frame) -> npt.NDArray[np.float64]:
    """(n, n) mm from a pixel to the next, one axis per column."""
    return np.reshape(frame.direction, (len(frame.spacing_mm),) * 2) * frame.spacing_mm


def _write_dicom(
    path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None, names: Sequence[Label] | None = None
) -> None:
    dataset = dicom_seg(labels, frame, names)
    with writing_whole(path) as partial:
        dataset.save_as(partial)


_WRITERS: tuple[tuple[tuple[str, ...], LabelWriter], ...] = (
    ((".png", ".tif", ".tiff", ".bmp"), _write_picture),
    ((".npz",), _write_npz),
    ((".nii", ".nii.gz", ".nrrd", ".mha"), _write_medical),
    ((".dcm",), _write_dicom),
)
