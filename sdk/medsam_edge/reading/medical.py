"""Medical images: files whose headers say where they lie, and SimpleITK's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.reading.layout import Layout
from medsam_edge.reading.metaimage import meta_layout
from medsam_edge.reading.nifti import nifti_layout
from medsam_edge.reading.nrrd import nrrd_layout


def read_medical(file: Path) -> LoadedImage:
    """A NIfTI, NRRD or MetaImage slice or volume; a volume of one slice is taken as that slice.

    Raises:
        ImageError: unreadable, cut, too large, or neither a slice nor a volume.
    """
    pixels, frame = read_volume(file)
    dimensions = len(frame.spacing_mm)
    plane = pixels[0] if dimensions == 3 and len(pixels) == 1 else pixels
    return LoadedImage(plane, frame, color=pixels.ndim > dimensions)


def read_volume(file: Path) -> tuple[npt.NDArray[Any], Frame]:
    """The same with the dimensions that the file has, but for times: (H, W), (H, W, 3), (D, H, W) or (1, H, W, 3).

    Raises:
        ImageError: as for `read_medical`.
    """
    layout = layout_of(file)
    layout.check()
    size = layout.size
    while len(size) > 3 and size[-1] == 1:
        size = size[:-1]
    check_kind(size, layout.channels, str(file))
    return _arranged(layout.read(), size[::-1], layout.channels, file), _first(layout.frame, len(size))


def layout_of(file: Path) -> Layout:
    """What a header says, by suffix.

    Raises:
        ImageError: as for `read_medical`, but for what is only found in the values.
    """
    name = file.name.lower()
    if name.endswith(".nrrd"):
        return nrrd_layout(file)
    return meta_layout(file) if name.endswith((".mha", ".mhd")) else nifti_layout(file)


def check_kind(size: tuple[int, ...], channels: int, source: str) -> None:
    """Raises ImageError unless it is a slice, in grey or colour, or a grey volume."""
    if len(size) not in (2, 3):
        raise ImageError(f"image: expected two or three dimensions, {source} has size {size}")
    if channels not in (1, 3):
        raise ImageError(f"image: expected 1 or 3 values a pixel, {source} has {channels}")
    if channels == 3 and len(size) == 3 and size[2] != 1:
        raise ImageError(f"image: expected 1 value a voxel, {source} has 3 and size {size} (x, y, z)")


def _arranged(values: npt.NDArray[Any], shape: tuple[int, ...], channels: int, file: Path) -> npt.NDArray[Any]:
    """The values as the header has them: sides of 1 come and go, channels may be stored first and are wanted last."""
    sides = [side for side in values.shape if side > 1]
    colors = [3] if channels == 3 else []
    plain = [side for side in shape if side > 1]
    if sides == plain + colors:
        return values.reshape(*shape, *colors)
    if sides == colors + plain:
        return np.ascontiguousarray(np.moveaxis(values.reshape(*colors, *shape), 0, -1))
    raise ImageError(f"image: {file} has values of shape {values.shape}, and a header that says {shape}")


def _first(frame: Frame, count: int) -> Frame:
    """In its first dimensions, without those of time."""
    direction = np.reshape(frame.direction, (len(frame.spacing_mm),) * 2)[:count, :count]
    return Frame(frame.spacing_mm[:count], frame.origin_mm[:count], tuple(direction.ravel().tolist()))
