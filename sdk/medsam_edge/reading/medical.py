"""NIfTI, NRRD and MetaImage files: values and frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.reading.headers import meta_layout, nifti_layout, nrrd_layout
from medsam_edge.reading.layout import Layout
from medsam_edge.reading.limits import check_kind


def read_medical(file: Path) -> LoadedImage:
    """Read a slice or a volume; a volume of one slice becomes that slice. ImageError if the file is neither."""
    pixels, frame = read_volume(file)
    dimensions = len(frame.spacing_mm)
    plane = pixels[0] if dimensions == 3 and len(pixels) == 1 else pixels
    return LoadedImage(plane, frame, color=pixels.ndim > dimensions)


def read_volume(file: Path) -> tuple[npt.NDArray[Any], Frame]:
    """Read values and frame in the file's spatial dimensions: (H, W), (H, W, 3), (D, H, W) or (1, H, W, 3)."""
    layout = layout_of(file)
    layout.check()
    size, frame = layout.size, layout.frame
    while len(size) > 3 and size[-1] == 1:  # axes of time
        size = size[:-1]
    check_kind(str(file), size, layout.channels)
    count = len(size)
    direction = np.reshape(frame.direction, (len(frame.spacing_mm),) * 2)[:count, :count]
    frame = Frame(
        frame.spacing_mm[:count], frame.origin_mm[:count], tuple(direction.ravel().tolist()), nifti=frame.nifti
    )
    return _arranged(layout.read(), size[::-1], layout.channels, file), frame


def layout_of(file: Path) -> Layout:
    """Read a header; the suffix says of which format."""
    name = file.name.lower()
    if name.endswith(".nrrd"):
        return nrrd_layout(file)
    return meta_layout(file) if name.endswith((".mha", ".mhd")) else nifti_layout(file)


def _arranged(values: npt.NDArray[Any], shape: tuple[int, ...], channels: int, file: Path) -> npt.NDArray[Any]:
    """Give the values the header's shape, channels last. Axes of length 1 may differ, channels may be stored first."""
    sides = [side for side in values.shape if side > 1]
    colors = [3] if channels == 3 else []
    plain = [side for side in shape if side > 1]
    if sides == plain + colors:
        return values.reshape(*shape, *colors)
    if sides == colors + plain:
        return np.ascontiguousarray(np.moveaxis(values.reshape(*colors, *shape), 0, -1))
    raise ImageError(f"image: {file} has values of shape {values.shape}, its header says {shape}")
