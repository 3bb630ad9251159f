"""Images from files. SimpleITK is imported only when a medical file is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.dicom import is_dicom, read_dicom, read_series
from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.image import Frame, LoadedImage, itk_path, reading, unreadable
from medsam_edge.medical import read_medical
from medsam_edge.npz import read_npz
from medsam_edge.picture_file import read_picture

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MEDICAL_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm")
STEP_TOLERANCE = 1e-3
"""Of a pixel, what a step along an axis of a saved file may differ by: headers of images have a few decimals only."""


def read_image(path: str | os.PathLike[str]) -> LoadedImage:
    """Read an image: png jpg tif bmp; a DICOM image, or a folder with one series; a NIfTI, NRRD or MetaImage slice or
    volume; challenge npz.

    A file has one picture, page or volume: animations, several pages and series of volumes are refused, and so are
    complex values, NIfTI-2, Analyze and NIfTI pairs, NRRD with its values in another file, and values written as text.
    NaN and infinite values are given as they are; segmenting refuses them.

    Raises:
        FileMissingError: there is no such file.
        ImageError: unreadable, of an unknown kind, too large, or neither a picture nor a volume.
    """
    file = Path(path)
    with reading(file):
        if not file.is_file() and not file.is_dir():
            raise FileMissingError(f"image: no such file: {file}")
        loaded = read_series(file) if file.is_dir() else _read(file)
    shape, kind = loaded.pixels.shape, loaded.pixels.dtype
    if kind.kind not in "buif" or loaded.pixels.size == 0 or len(shape) not in (2, 3):
        raise ImageError(f"image: expected numbers, two or three dimensions, {file} has {kind} of shape {shape}")
    return loaded


def _read(file: Path) -> LoadedImage:
    name = file.name.lower()
    if name.endswith(PICTURE_SUFFIXES):
        return read_picture(file)
    if name.endswith(".npz"):
        return read_npz(file)
    if name.endswith(".dcm") or is_dicom(file):
        return read_dicom(file)
    if name.endswith(MEDICAL_SUFFIXES):
        return read_medical(file)
    known = " ".join(PICTURE_SUFFIXES + MEDICAL_SUFFIXES + (".npz",))
    raise ImageError(f"image: expected one of {known}, got {file.name}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffixes, in lower case, for not all writers know others) that takes its
    place when the block ends well, and goes if not.

    Every call has its own, so that threads may save to one path. A process that is killed leaves
    `.PID.ID.partial.NAME` behind. Nothing reads it and it can be deleted, but not by us: in a shared folder PID may be
    alive on another machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.lower()[-40:]  # the end, for its suffixes; with all of a long name it would be too long
    partial = path.with_name(f".{os.getpid()}.{uuid4().hex[:8]}.partial.{name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """`replacing`, with one kind of error for a full disk, a folder that cannot be written, and the like."""
    try:
        with replacing(path) as partial:
            yield partial
    except (OSError, RuntimeError, ValueError, cv2.error) as error:  # a path with a null character is a ValueError
        reason = getattr(error, "strerror", None) or str(unreadable(path, error)).partition(": ")[2]
        raise ImageError(f"output: cannot write {path}: {reason}") from error


def write_picture(path: Path, image: npt.NDArray[Any]) -> None:
    """(H, W) uint8 or uint16, or (H, W, 3) RGB uint8 → png, tif, bmp or jpg by suffix.

    Raises:
        ImageError: a suffix that OpenCV cannot write, or that holds no 16 bits or no picture of this size; or the
            folder takes no file.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    check_picture_suffix(path)
    if image.dtype != np.uint8 and not path.name.lower().endswith((".png", ".tif", ".tiff")):  # OpenCV would cut to 8
        raise ImageError(f"output: expected png or tif for 16 bits, as of labels above 255, got {path.name}")
    with _writing(path) as partial:
        done, encoded = cv2.imencode(path.suffix, bgr)  # imwrite does not say why it could not
        if not done:
            raise ImageError(f"output: no {path.suffix} of shape {image.shape}")
        partial.write_bytes(encoded.tobytes())


def check_picture_suffix(path: Path) -> None:
    """Raises ImageError when no picture is written with this suffix."""
    if not path.name.lower().endswith(PICTURE_SUFFIXES):
        raise ImageError(f"output: expected one of {' '.join(PICTURE_SUFFIXES)}, got {path.name}")


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
    with _writing(path) as partial:
        np.savez_compressed(partial, segs=labels)


def _write_labels_medical(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    import SimpleITK as sitk

    three = labels.ndim == 2 and frame is not None and len(frame.spacing_mm) == 3
    image = sitk.GetImageFromArray(labels[None] if three else labels)
    if frame is not None:
        image.SetSpacing(frame.spacing_mm)
        image.SetOrigin(frame.origin_mm)
        image.SetDirection(frame.direction)
    with _writing(path) as partial:
        sitk.WriteImage(image, itk_path(partial), True)
        held = read_medical(partial).frame  # ITK does not notice a full disk, and makes the axes of NIfTI straight
        wanted = Frame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        if held and (np.abs(_steps(held) - _steps(wanted)) > STEP_TOLERANCE * np.array(wanted.spacing_mm)).any():
            raise ImageError("output: NIfTI cannot hold this image's axes, not at right angles; use .nrrd or .mha")


def _steps(frame: Frame) -> npt.NDArray[np.float64]:
    """(n, n) mm from a pixel to the next one, an axis in each column."""
    return np.reshape(frame.direction, (len(frame.spacing_mm),) * 2) * frame.spacing_mm


def _write_labels_dicom(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    from medsam_edge.dicom_seg import dicom_seg

    dataset = dicom_seg(labels, frame)
    with _writing(path) as partial:
        dataset.save_as(partial)


_Writer = Callable[[Path, npt.NDArray[np.uint16], "Frame | None"], None]
_LABEL_WRITERS: tuple[tuple[tuple[str, ...], _Writer], ...] = (
    ((".png", ".tif", ".tiff", ".bmp"), _write_labels_picture),
    ((".npz",), _write_labels_npz),
    ((".nii", ".nii.gz", ".nrrd", ".mha"), _write_labels_medical),
    ((".dcm",), _write_labels_dicom),
)
