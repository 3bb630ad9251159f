"""What ITK takes and gives: the paths it opens, and SimpleITK images as `LoadedImage`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.reading.limits import check_kind, check_size


def itk_path(file: Path) -> str:
    """Return the path as text; ImageError unless it is UTF-8, because SimpleITK would end the process."""
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        raise ImageError(f"path: expected UTF-8, which is all that ITK opens, got {str(file)!a}") from error
    return str(file)


def from_simpleitk(image: Any, source: str = "the SimpleITK image") -> LoadedImage:
    """Convert a SimpleITK.Image of two or three dimensions; a volume of one slice becomes that slice.

    ImageError, which names the source: too large, of other dimensions or components, or a map of objects.
    """
    import SimpleITK as sitk

    size = image.GetSize()
    check_kind(source, size, image.GetNumberOfComponentsPerPixel())
    check_size(source, size)
    if image.GetPixelIDTypeAsString().startswith("label"):  # GetArrayFromImage would end the process
        raise ImageError(f"image: expected pixels, {source} is a map of labels; see SimpleITK.LabelMapToLabel")
    pixels = sitk.GetArrayFromImage(image)
    frame = Frame(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    plane = pixels[0] if len(size) == 3 and size[2] == 1 else pixels
    return LoadedImage(plane, frame, color=pixels.ndim > len(size))
