"""Images from files. SimpleITK is imported only when a medical file is touched."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.dicom import is_dicom, read_dicom, read_series
from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.geometry import are_volume_boxes
from medsam_edge.image import MAXIMUM_PIXELS, Frame, LoadedImage
from medsam_edge.medical import read_medical

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MEDICAL_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm")


def read_image(path: str | os.PathLike[str]) -> LoadedImage:
    """Read an image: png jpg tif bmp; a DICOM image, or a folder with one series; a NIfTI, NRRD or MetaImage slice or
    volume; challenge npz.

    Raises:
        FileMissingError: there is no such file.
        ImageError: unreadable, of an unknown kind, too large, or neither a picture nor a volume.
    """
    file = Path(path)
    if file.is_dir():
        return read_series(file)
    if not file.is_file():
        raise FileMissingError(f"image: no such file: {file}")
    name = file.name.lower()
    if name.endswith(PICTURE_SUFFIXES):
        return _read_picture(file)
    if name.endswith(".npz"):
        return _read_npz(file)
    if name.endswith(".dcm") or is_dicom(file):
        return read_dicom(file)
    if name.endswith(MEDICAL_SUFFIXES):
        return read_medical(file)
    known = " ".join(PICTURE_SUFFIXES + MEDICAL_SUFFIXES + (".npz",))
    raise ImageError(f"image: expected one of {known}, got {file.name}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffixes) that takes its place when the block ends well, and goes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_picture(path: Path, image: npt.NDArray[Any]) -> None:
    """(H, W) uint8 or uint16, or (H, W, 3) RGB uint8 → png, tif, bmp or jpg by suffix.

    Raises:
        ImageError: a suffix that OpenCV cannot write.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    check_picture_suffix(path)
    with replacing(path) as partial:
        if not cv2.imwrite(str(partial), bgr):
            raise ImageError(f"output: OpenCV cannot write {path}")


def check_picture_suffix(path: Path) -> None:
    """Raises ImageError when no picture is written with this suffix."""
    if not path.name.lower().endswith(PICTURE_SUFFIXES):
        raise ImageError(f"output: expected one of {' '.join(PICTURE_SUFFIXES)}, got {path.name}")


def write_labels(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    """Write a label map by suffix: png/tif/bmp, npz (`segs`, the challenge's name), or a medical file with its frame.

    Raises:
        ImageError: an unknown suffix, jpg, which would change the labels, or a picture's for a volume.
    """
    label_writer(path, labels.ndim)(path, labels, frame)


def label_writer(path: Path, dimensions: int = 2) -> _Writer:
    """The function that writes a label map of two or three dimensions to a path of this suffix.

    Raises:
        ImageError: none does.
    """
    writers = [item for item in _LABEL_WRITERS if dimensions == 2 or item[1] is not _write_labels_picture]
    for suffixes, writer in writers:
        if path.name.lower().endswith(suffixes):
            return writer
    known = " ".join(suffix for suffixes, _ in writers for suffix in suffixes)
    raise ImageError(f"output: expected one of {known}{' for a volume' * (dimensions == 3)}, got {path.name}")


def _write_labels_picture(path: Path, labels: npt.NDArray[np.uint16], _: Frame | None) -> None:
    write_picture(path, labels.astype(np.uint8) if labels.max(initial=0) < 256 else labels)


def _write_labels_npz(path: Path, labels: npt.NDArray[np.uint16], _: Frame | None) -> None:
    with replacing(path) as partial:
        np.savez_compressed(partial, segs=labels)


def _write_labels_medical(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    import SimpleITK as sitk

    three = labels.ndim == 2 and frame is not None and len(frame.spacing_mm) == 3
    image = sitk.GetImageFromArray(labels[None] if three else labels)
    if frame is not None:
        image.SetSpacing(frame.spacing_mm)
        image.SetOrigin(frame.origin_mm)
        image.SetDirection(frame.direction)
    with replacing(path) as partial:
        sitk.WriteImage(image, str(partial), True)


def _write_labels_dicom(path: Path, labels: npt.NDArray[np.uint16], frame: Frame | None) -> None:
    from medsam_edge.dicom_seg import write_dicom_seg

    write_dicom_seg(path, labels, frame)


_Writer = Callable[[Path, npt.NDArray[np.uint16], "Frame | None"], None]
_LABEL_WRITERS: tuple[tuple[tuple[str, ...], _Writer], ...] = (
    ((".png", ".tif", ".tiff", ".bmp"), _write_labels_picture),
    ((".npz",), _write_labels_npz),
    ((".nii", ".nii.gz", ".nrrd", ".mha"), _write_labels_medical),
    ((".dcm",), _write_labels_dicom),
)


def _read_picture(file: Path) -> LoadedImage:
    raw = np.fromfile(file, dtype=np.uint8)
    try:
        pages = cv2.imcount(str(file)) if file.suffix.lower() in (".tif", ".tiff") else 1
        image = cv2.imdecode(raw, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH) if raw.size else None
    except cv2.error as error:
        raise ImageError(f"image: cannot read {file}: {error.err}") from error
    if image is None:
        raise ImageError(f"image: cannot read {file}: not a picture OpenCV knows, or damaged")
    if pages > 1:
        raise ImageError(f"image: expected one page, {file} has {pages}")
    return LoadedImage(cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image)


def _read_npz(file: Path) -> LoadedImage:
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(info.file_size for info in archive.infolist()) > 3 * MAXIMUM_PIXELS:
                raise ImageError(f"image: {file} unpacks to more than {3 * MAXIMUM_PIXELS} bytes")
        with np.load(file, allow_pickle=False) as arrays:
            if "imgs" not in arrays:
                raise ImageError(
                    f"image: expected an array 'imgs' in {file}, found {', '.join(arrays.files) or 'none'}"
                )
            image = arrays["imgs"]
            return LoadedImage(image, _npz_frame(image, arrays.get("spacing")), boxes=_npz_boxes(arrays.get("boxes")))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"image: cannot read {file}: {error}") from error


def _npz_frame(image: npt.NDArray[Any], spacing: npt.NDArray[Any] | None) -> Frame | None:
    """Of a volume; the challenge saves its spacing as x, y, z."""
    if spacing is None or image.ndim != 3 or image.shape[2] == 3:
        return None
    values = tuple(float(value) for value in np.ravel(spacing))
    if len(values) != 3 or not all(0 < value < math.inf for value in values):
        raise ImageError(f"spacing: expected three positive numbers x, y, z, got {values}")
    return Frame(values, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def _npz_boxes(boxes: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    """The challenge's z_max is the last slice inside, our z1 the one after; `check_boxes` refuses what is no number."""
    if boxes is None or not are_volume_boxes(boxes) or not np.issubdtype(boxes.dtype, np.number):
        return boxes
    ours = boxes.astype(np.float64)
    ours[..., 5] += 1
    return ours
