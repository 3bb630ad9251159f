"""Images from files. SimpleITK is imported only when a medical file is touched."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.errors import FileMissingError, ImageError, ModalityError
from medsam_edge.geometry import are_volume_boxes
from medsam_edge.modality import Modality

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
MEDICAL_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm")
MAXIMUM_PIXELS = 1 << 28
"""Larger images and volumes are refused before their pixels are read: 16384 × 16384, or 512 × 512 × 1024."""


@dataclass(frozen=True)
class Frame:
    """Where a medical image lies in the patient, in SimpleITK's order (x, y[, z]) and in mm."""

    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image and what its file knows about it.

    Attributes:
        pixels: (H, W), (H, W, 3) RGB or (D, H, W), in the file's own values (CT in HU).
        frame: of a medical file, else None.
        modality: as a DICOM header says, else None.
        boxes: prompts that a challenge npz carries, else None: (N, 4) as they are, (N, 6) with z1 exclusive, where the
            file has the last slice. `compat="rep-medsam"` adds that slice itself: give it the file's own numbers.
    """

    pixels: npt.NDArray[Any]
    frame: Frame | None = None
    modality: Modality | None = None
    boxes: npt.NDArray[Any] | None = None


def read_image(path: str | os.PathLike[str]) -> LoadedImage:
    """Read an image: png jpg tif bmp; one DICOM slice; a NIfTI, NRRD or MetaImage slice or volume; challenge npz.

    Raises:
        FileMissingError: there is no such file.
        ImageError: unreadable, of an unknown kind, too large, or neither a picture nor a volume.
    """
    file = Path(path)
    if file.is_dir():
        raise ImageError(f"image: expected a file, {file} is a folder; series are not supported yet")
    if not file.is_file():
        raise FileMissingError(f"image: no such file: {file}")
    name = file.name.lower()
    if name.endswith(PICTURE_SUFFIXES):
        return _read_picture(file)
    if name.endswith(".npz"):
        return _read_npz(file)
    if name.endswith(MEDICAL_SUFFIXES) or _is_dicom(file):
        return _read_medical(file)
    known = " ".join(PICTURE_SUFFIXES + MEDICAL_SUFFIXES + (".npz",))
    raise ImageError(f"image: expected one of {known}, got {file.name}")


def from_simpleitk(image: Any, source: str = "image") -> LoadedImage:
    """A SimpleITK image of two or three dimensions; one of three with a single slice is taken as that slice.

    Raises:
        ImageError: more dimensions, or neither one nor three components a pixel, or three a voxel.
    """
    import SimpleITK as sitk

    size, components = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    if len(size) not in (2, 3):
        raise ImageError(f"image: expected two or three dimensions, {source} has size {size}")
    if components not in (1, 3):
        raise ImageError(f"image: expected 1 or 3 values a pixel, {source} has {components}")
    if components == 3 and len(size) == 3 and size[2] != 1:
        raise ImageError(f"image: expected 1 value a voxel, {source} has 3 and size {size} (x, y, z)")
    pixels = sitk.GetArrayFromImage(image)
    if len(size) == 3 and size[2] == 1:
        pixels = pixels[0]
    frame = Frame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return LoadedImage(pixels, frame)


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


_Writer = Callable[[Path, npt.NDArray[np.uint16], "Frame | None"], None]
_LABEL_WRITERS: tuple[tuple[tuple[str, ...], _Writer], ...] = (
    ((".png", ".tif", ".tiff", ".bmp"), _write_labels_picture),
    ((".npz",), _write_labels_npz),
    ((".nii", ".nii.gz", ".nrrd", ".mha"), _write_labels_medical),
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


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _read_medical(file: Path) -> LoadedImage:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
        if math.prod(reader.GetSize()) > MAXIMUM_PIXELS:
            raise ImageError(f"image: {file} has size {reader.GetSize()}, more than {MAXIMUM_PIXELS} pixels or voxels")
        if math.prod(reader.GetSize()[2:]) > 1 and _is_dicom(file):
            raise ImageError(
                f"image: expected one slice, {file} has {reader.GetSize()[2]}; DICOM volumes are not read yet"
            )
        loaded = from_simpleitk(reader.Execute(), str(file))
    except RuntimeError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"image: cannot read {file}: {_itk_reason(error)}") from error
    pixels = loaded.pixels
    if _tag(reader, "0028|0004") == "MONOCHROME1" and pixels.ndim == 2:
        pixels = pixels.max() + pixels.min() - pixels  # stored with white as zero
    return LoadedImage(pixels, loaded.frame, _dicom_modality(_tag(reader, "0008|0060")))


def _tag(reader: Any, key: str) -> str:
    return str(reader.GetMetaData(key)).strip() if reader.HasMetaDataKey(key) else ""


def _dicom_modality(code: str) -> Modality | None:
    try:
        return Modality.parse(code or None)
    except ModalityError:
        return None


def _itk_reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
