"""The values of a pair's image and labels. What is damaged or too large becomes an ImageError, and costs little."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from medsam_edge.errors import ImageError, MedsamEdgeError
from medsam_edge.io import PICTURE_SUFFIXES, read_image
from medsam_edge_train.prepare.sources import Pair, series_files

Labels = npt.NDArray[np.uint16]

MAXIMUM_VOXELS = 1 << 28
"""Larger arrays are refused before their values are read: 1024 slices of 512 × 512."""
MAXIMUM_BYTES = 4 * MAXIMUM_VOXELS
DIRECTION_TOLERANCE = 0.01  # of direction cosines
NIFTI_1, NIFTI_2 = 348, 540  # bytes of the header, also its first number
CHUNK = 1 << 20  # bytes


def read_labels(pair: Pair) -> Labels:
    """(H, W), or (D, H, W) of a volume.

    Raises:
        ImageError: unreadable, too large, or not whole numbers from 0 to 65535 in one channel.
    """
    with _reading(pair.label):
        if pair.label.suffix.lower() == ".npz":
            labels = _read_npz(pair.label, "gts")
        elif pair.label.name.lower().endswith(PICTURE_SUFFIXES):
            labels = _grey_if_equal(read_image(pair.label).pixels)
        else:
            labels = sitk.GetArrayFromImage(_read_volume([pair.label]))
            if pair.is_picture and labels.shape[0] == 1:
                labels = labels[0]
        if labels.ndim != 2 and (labels.ndim != 3 or pair.is_picture):
            raise ImageError(f"labels: expected one value a pixel, got shape {labels.shape}")
        return _whole_numbers(labels)


def read_pixels(pair: Pair, labels: Labels) -> npt.NDArray[Any]:
    """The image in the file's own values, of the labels' shape; (H, W, 3) RGB in colour.

    Raises:
        ImageError: unreadable, too large, or another size or orientation than the labels.
    """
    with _reading(pair.image):
        if pair.image.suffix.lower() == ".npz":
            pixels = _read_npz(pair.image, "imgs")
        elif pair.is_picture:
            pixels = read_image(pair.image).pixels
        else:
            image = _read_volume(series_files(pair.image) if pair.image.is_dir() else [pair.image])
            _check_direction(image, pair.label)
            pixels = sitk.GetArrayFromImage(image)
    if labels.ndim == 2:
        pixels = _grey_if_equal(pixels)
    if pixels.shape not in (labels.shape, (*labels.shape, 3)) or pixels.ndim > 3:
        raise ImageError(f"image is {pixels.shape}, its labels {labels.shape}")
    return pixels


def _read_volume(files: list[Path]) -> Any:
    """SimpleITK's image of a file or of a series' slices; its size is checked before its values are read."""
    header = sitk.ImageFileReader()
    header.SetFileName(str(files[0]))
    header.ReadImageInformation()
    if math.prod(header.GetSize()) * len(files) > MAXIMUM_VOXELS:
        raise ImageError(f"expected at most {MAXIMUM_VOXELS} voxels, got {header.GetSize()} x {len(files)}")
    if header.GetNumberOfComponents() != 1:
        raise ImageError(f"expected one value a voxel, got {header.GetNumberOfComponents()}")
    if files[0].name.lower().endswith((".nii", ".nii.gz")):
        _check_nifti(files[0], math.prod(header.GetSize()))
    if len(files) == 1:
        return header.Execute()
    series = sitk.ImageSeriesReader()
    series.SetFileNames([str(file) for file in files])
    return series.Execute()


def _check_nifti(file: Path, voxels: int) -> None:
    """ITK's reader fills what a cut NIfTI file lacks with zeros, and does not say so."""
    opener: Any = gzip.open if file.name.lower().endswith(".gz") else Path.open
    with opener(file, "rb") as stream:
        header = stream.read(NIFTI_2)
        order = "<" if struct.unpack("<i", header[:4])[0] in (NIFTI_1, NIFTI_2) else ">"
        (version,) = struct.unpack(f"{order}i", header[:4])
        kind, offset_at, bits_at = ("f", 108, 72) if version == NIFTI_1 else ("q", 168, 14)
        (offset,) = struct.unpack_from(order + kind, header, offset_at)
        (bits,) = struct.unpack_from(f"{order}h", header, bits_at)
        expected = int(offset) + voxels * bits // 8
        length = len(header)
        while length <= expected + CHUNK and (chunk := stream.read(CHUNK)):  # to the end, where gzip has its checksum
            length += len(chunk)
    if length < expected:
        raise ImageError(f"expected {expected} bytes, found {length}")


def _check_direction(image: Any, label: Path) -> None:
    """A flipped label map has the right size and lies over the wrong organs."""
    header = sitk.ImageFileReader()
    header.SetFileName(str(label))
    header.ReadImageInformation()
    if len(header.GetDirection()) != len(image.GetDirection()):
        raise ImageError(f"image has size {image.GetSize()}, its labels {header.GetSize()}")
    if not np.allclose(header.GetDirection(), image.GetDirection(), rtol=0, atol=DIRECTION_TOLERANCE):
        raise ImageError("image and labels lie in different directions")


def _read_npz(file: Path, name: str) -> npt.NDArray[Any]:
    """One array; its header is read first, so that a small file cannot ask for all memory. Pickles are refused."""
    with zipfile.ZipFile(file) as archive:
        if f"{name}.npy" not in archive.namelist():
            raise ImageError(f"expected an array {name!r}, found {', '.join(archive.namelist()) or 'none'}")
        with archive.open(f"{name}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read_header[version](stream)
        if math.prod(shape) * dtype.itemsize > MAXIMUM_BYTES:
            raise ImageError(f"{name}: expected at most {MAXIMUM_BYTES} bytes, got {shape} of {dtype}")
        with archive.open(f"{name}.npy") as stream:
            array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            return array


def _grey_if_equal(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(H, W) of an (H, W, 3) image with three equal channels; others as they are."""
    if pixels.ndim == 3 and pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all():
        return pixels[..., 0]
    return pixels


def _whole_numbers(labels: npt.NDArray[Any]) -> Labels:
    if labels.dtype.kind not in "buif" or labels.size == 0:
        raise ImageError(f"labels: expected numbers, got {labels.dtype} of shape {labels.shape}")
    if not (labels.min() >= 0 and labels.max() <= np.iinfo(np.uint16).max):
        raise ImageError(f"labels: expected 0 to 65535, got {labels.min()} to {labels.max()}")
    whole = labels.astype(np.uint16)
    if labels.dtype.kind == "f" and not np.array_equal(whole, labels):
        raise ImageError("labels: expected whole numbers")
    return whole


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Whatever a damaged file makes a reader raise becomes an ImageError."""
    try:
        yield
    except MedsamEdgeError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ImageError(f"cannot read {file.name}: {lines[-1] if lines else type(error).__name__}") from error
