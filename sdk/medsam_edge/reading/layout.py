"""Where the values of a NIfTI, NRRD or MetaImage file are stored, and in which form."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame
from medsam_edge.reading.limits import check_claim
from medsam_edge.reading.unpack import fill, inflated

HEADER_BYTES = 1 << 16
"""Longer text headers are refused."""


@dataclass(frozen=True)
class Layout:
    """Where the values of an image are stored.

    Attributes:
        file: the file that holds the values.
        shape: shape of the stored array, slowest axis first as in numpy.
        dtype: dtype of the stored values, with their byte order.
        size: pixels along x, y[, z[, t]], without channels.
        channels: values per pixel.
        frame: geometry in all dimensions of `size`.
        start: first byte of the values, or of their packed stream.
        packed: whether the values are compressed by gzip or zlib.
        skip: bytes before the values in the unpacked stream.
        slope, intercept: real value = slope × stored value + intercept.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: tuple[int, ...]
    channels: int
    frame: Frame
    start: int
    packed: bool = False
    skip: int = 0
    slope: float = 1.0
    intercept: float = 0.0

    def check(self) -> None:
        """Raise ImageError if `check_claim` refuses the values, or if the file is shorter than they are."""
        check_claim(self.file, self.shape[::-1], self.dtype.itemsize)
        expected, held = self.start + math.prod(self.shape) * self.dtype.itemsize, self.file.stat().st_size
        if not self.packed and held < expected:
            raise ImageError(f"image: {self.file} is cut: expected {expected} bytes, found {held}")

    def read(self) -> npt.NDArray[Any]:
        """Read the values in native byte order; scaled values are float32 or float64, as in ITK."""
        if self.packed:
            values = np.empty(self.shape, self.dtype)
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                fill(values, inflated(stream, str(self.file)), str(self.file), self.skip)
        else:
            count = math.prod(self.shape)
            values = np.fromfile(self.file, self.dtype, count, offset=self.start).reshape(self.shape)
        if not values.dtype.isnative:
            values = values.byteswap(inplace=True).view(values.dtype.newbyteorder())
        return values if (self.slope, self.intercept) == (1.0, 0.0) else self._scaled(values)

    def _scaled(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        scaled = np.empty(self.shape, np.float64 if values.dtype == np.float64 else np.float32)
        for stored, real in zip(values, scaled, strict=True):  # slice by slice: intermediates are float64
            real[...] = stored * self.slope + self.intercept
        return scaled


def dtype_of(types: dict[str, str], name: str, big: bool, file: Path) -> np.dtype[Any]:
    """Look up the dtype of a header's type name, big- or little-endian; ImageError for an unknown name."""
    if name not in types:
        raise ImageError(f"image: {file} has values of type {name!r}, which is not read")
    return np.dtype((">" if big else "<") + types[name])


def frame_of(spacing: Iterable[float], origin: Iterable[float], direction: npt.ArrayLike, file: Path) -> Frame:
    """Make a frame from a header's numbers; `direction` is (n, n) with one axis per column.

    Raises:
        ImageError: the numbers are not finite, too few or too many, the spacing is not positive, or the direction
            matrix is singular.
    """
    spacing, origin, matrix = tuple(spacing), tuple(origin), np.asarray(direction, np.float64)
    finite = np.isfinite([*spacing, *origin, *matrix.ravel()]).all()
    fits = matrix.shape == (len(spacing),) * 2 and len(origin) == len(spacing)
    with np.errstate(all="ignore"):
        solid = finite and fits and 1e-6 < abs(np.linalg.det(matrix)) < math.inf
    if not (solid and min(spacing, default=0) > 0):
        raise ImageError(
            f"image: {file} has an invalid geometry: spacing {spacing}, origin {origin}, direction {matrix.tolist()}"
        )
    return Frame(spacing, origin, tuple(matrix.ravel().tolist()))
