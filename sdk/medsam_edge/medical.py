"""Medical images through SimpleITK, which is imported only when one is touched."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medsam_edge.errors import ImageError
from medsam_edge.image import MAXIMUM_PIXELS, Frame, LoadedImage


def read_medical(file: Path) -> LoadedImage:
    """A NIfTI, NRRD or MetaImage slice or volume.

    Raises:
        ImageError: unreadable, too large, or neither a slice nor a volume.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
        check_size(file, reader.GetSize())
        image = reader.Execute()
    except RuntimeError as error:
        raise unreadable(file, error) from error
    return from_simpleitk(image, str(file))


def check_size(file: Path, size: tuple[int, ...]) -> None:
    """Raises ImageError when a header asks for more pixels than are read."""
    if math.prod(size) > MAXIMUM_PIXELS:
        raise ImageError(f"image: {file} has size {size}, more than {MAXIMUM_PIXELS} pixels or voxels")


def unreadable(file: Path, error: Exception) -> ImageError:
    """The error for a file that ITK refused: its own reason, without its traces."""
    if isinstance(error, ImageError):
        return error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ImageError(f"image: cannot read {file}: {lines[-1] if lines else type(error).__name__}")


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
