"""SimpleITK images → `LoadedImage`."""

from __future__ import annotations

from typing import Any

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.reading.limits import check_size
from medsam_edge.reading.medical import check_kind


def from_simpleitk(image: Any, source: str = "the SimpleITK image") -> LoadedImage:
    """A SimpleITK image of two or three dimensions; one of three with a single slice is taken as that slice.

    Raises:
        ImageError: too large, more dimensions, or neither one nor three components a pixel, or three a voxel; a label
            map by objects (sitkLabelUInt8 …).
    """
    import SimpleITK as sitk

    size = image.GetSize()
    check_kind(size, image.GetNumberOfComponentsPerPixel(), source)
    check_size(source, size)
    if image.GetPixelIDTypeAsString().startswith("label"):  # to ask it for pixels would end the process
        raise ImageError(f"image: expected pixels, {source} is a map of labels; see SimpleITK.LabelMapToLabel")
    pixels = sitk.GetArrayFromImage(image)
    frame = Frame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    plane = pixels[0] if len(size) == 3 and size[2] == 1 else pixels
    return LoadedImage(plane, frame, color=pixels.ndim > len(size))
