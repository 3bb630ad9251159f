"""One ImageError for whatever a library raises on a damaged file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsam_edge.errors import ImageError, MedsamEdgeError


@contextmanager
def as_image_error(file: Path) -> Iterator[None]:
    """Turn every exception of the block that is not of this project into an ImageError that names the file."""
    try:
        yield
    except (MedsamEdgeError, UserWarning):  # a warning, where the caller makes errors of them
        raise
    except Exception as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: Exception) -> ImageError:
    """Make the ImageError for a library's exception: the file, and the last line of the library's message."""
    if isinstance(error, ImageError):
        return error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ImageError(f"image: cannot read {file}: {lines[-1] if lines else type(error).__name__}")
