"""Images that a caller has in memory, in the types of other libraries; none of these is imported here."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medsam_edge.errors import ImageError, MedsamEdgeError, warn
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.reading.limits import MAXIMUM_BYTES, check_size

TAKEN = "an array, a tensor, a SimpleITK, PIL, nibabel or pydicom image, bytes, an open file or a path"
MAGIC = (
    (0, b"\x89PNG", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"BM", ".bmp"),
    (0, b"II", ".tif"),
    (0, b"MM", ".tif"),
    (0, b"PK\x03\x04", ".npz"),
    (0, b"NRRD", ".nrrd"),
    (0, b"\x1f\x8b", ".nii.gz"),
    (0, b"ObjectType", ".mha"),
    (0, b"NDims", ".mha"),
    (128, b"DICM", ".dcm"),
    (344, b"n+1\0", ".nii"),
)
"""Offset, first bytes and suffix of each kind of file."""
PLAIN_MODES = ("L", "RGB", "1", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
RGB_MODES = ("RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "HSV")
AMBIGUOUS = ("AnalyzeImage", "Spm99AnalyzeImage", "Spm2AnalyzeImage")


def from_memory(image: Any, read: Callable[[Path], LoadedImage]) -> LoadedImage:
    """An image of another library's type, told by its name; `read` reads the file that bytes are put into.

    Raises:
        ImageError: none of the types, or an image that cannot be taken as it is.
    """
    kind = f"{type(image).__module__.partition('.')[0]} {type(image).__name__}"
    try:
        if isinstance(image, (bytes, bytearray, memoryview)) or callable(getattr(image, "read", None)):
            return _from_bytes(image, read)
        if hasattr(image, "dataobj") and hasattr(image, "affine"):
            return _from_nibabel(image)
        if hasattr(image, "PixelData") and hasattr(image, "save_as"):
            return _from_dataset(image, read)
        if hasattr(image, "mode") and hasattr(image, "getbands"):
            return _from_pil(image)
        if hasattr(image, "shape") and (hasattr(image, "__array__") or hasattr(image, "detach")):
            return _from_array(image)
    except MedsamEdgeError:
        raise
    except Exception as error:  # whatever another library raises
        raise ImageError(f"image: cannot take the {kind}: {error}") from error
    if hasattr(image, "SOPClassUID"):
        raise ImageError("image: expected pixels, the DICOM data set has none")
    raise ImageError(f"image: expected {TAKEN}, got {type(image).__name__}")


def _from_array(image: Any) -> LoadedImage:
    """A tensor, on any device, or what gives an array."""
    shape = tuple(map(int, image.shape))
    check_size(f"the {type(image).__name__}", shape[:2] if shape[2:] == (3,) else shape)
    if hasattr(image, "detach"):
        image = image.detach().cpu()
        image = image.float() if str(image.dtype) == "torch.bfloat16" else image  # numpy has no such type
    return LoadedImage(np.asarray(image))


def _from_pil(image: Any) -> LoadedImage:
    """The pixels as PIL has them: its EXIF orientation is not applied, and boxes are in the same pixels."""
    check_size("the PIL image", (image.height, image.width))
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"image: expected one picture, the PIL image has {image.n_frames} frames")
    alpha = image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info
    if image.mode in ("LA", "La"):
        image = image.convert("L")
    elif image.mode in RGB_MODES:
        image = image.convert("RGB")
    elif image.mode not in PLAIN_MODES:
        raise ImageError(
            f"image: expected a PIL image of mode {', '.join((*PLAIN_MODES, *RGB_MODES))}, got {image.mode}"
        )
    if alpha:
        warn("image: the PIL image has an alpha channel, which is dropped")
    pixels = np.array(image)
    pixels.setflags(write=False)
    return LoadedImage(pixels, color=pixels.ndim == 3)


def _from_nibabel(image: Any) -> LoadedImage:
    """(D, H, W) of an image whose axes are x, y, z in RAS; as the same file would be read."""
    if type(image).__name__ in AMBIGUOUS:
        raise ImageError("image: Analyze images do not say what is left and right; expected NIfTI")
    shape = tuple(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3):
        raise ImageError(f"image: expected two or three dimensions, the nibabel image has {image.shape}")
    check_size("the nibabel image", shape)
    if math.prod(shape) * 8 > MAXIMUM_BYTES and image.get_data_dtype().itemsize > 4:
        raise ImageError(f"image: the nibabel image has {shape} values of 8 bytes, more than {MAXIMUM_BYTES} bytes")
    values = np.asarray(image.dataobj)
    if values.dtype.fields:
        raise ImageError("image: expected one value a voxel, the nibabel image is in colour; pass its file")
    if values.dtype == np.float64 and np.dtype(image.get_data_dtype()) != np.float64:
        values = values.astype(np.float32)  # scaled values, as a file's are
    pixels = np.ascontiguousarray(values.reshape((*shape, 1) if len(shape) == 2 else shape).T)
    pixels.setflags(write=False)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(image.affine, dtype=np.float64)  # RAS to LPS
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and (spacing > 0).all() and np.linalg.matrix_rank(affine[:3, :3]) == 3):
        raise ImageError("image: the affine of the nibabel image gives no axes")
    direction = affine[:3, :3] / spacing
    frame = Frame(tuple(spacing.tolist()), tuple(affine[:3, 3].tolist()), tuple(direction.ravel().tolist()))
    return LoadedImage(pixels[0] if len(pixels) == 1 else pixels, frame, color=False)


def _from_dataset(dataset: Any, read: Callable[[Path], LoadedImage]) -> LoadedImage:
    """A DICOM data set, read as the file that it would be written to."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "image.dcm")
        dataset.save_as(file, enforce_file_format=True)
        return _forget(file, "the DICOM data set", read)


def _from_bytes(content: Any, read: Callable[[Path], LoadedImage]) -> LoadedImage:
    """A file's bytes, or a file opened for reading them, from where it stands."""
    raw = content.read(MAXIMUM_BYTES + 1) if hasattr(content, "read") else bytes(content)
    if isinstance(raw, str):
        raise ImageError("image: expected a file opened in binary mode ('rb'), got one of text")
    if len(raw) > MAXIMUM_BYTES:
        raise ImageError(f"image: expected at most {MAXIMUM_BYTES} bytes of a file, got more")
    suffix = next((suffix for at, magic, suffix in MAGIC if raw[at : at + len(magic)] == magic), None)
    if suffix is None:
        known = " ".join(dict.fromkeys(suffix for _, _, suffix in MAGIC))
        raise ImageError(f"image: expected the bytes of one of {known}, got {len(raw)} bytes {raw[:8]!r}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"image{suffix}")
        file.write_bytes(raw)
        return _forget(file, "the bytes", read)


def _forget(file: Path, name: str, read: Callable[[Path], LoadedImage]) -> LoadedImage:
    """Read a file that will be gone."""
    try:
        loaded = read(file)
    except ImageError as error:
        raise ImageError(str(error).replace(str(file), name)) from error
    return replace(loaded, frame=loaded.frame and replace(loaded.frame, dicom_files=()))
