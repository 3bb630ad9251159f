"""Where the values of a file are stored, and how its bytes are unpacked into an array without further memory.

Cut or damaged bytes are refused. ITK fills missing values with zeros or with the output of a damaged stream.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.image import Frame
from medsam_edge.reading.limits import check_claim

CHUNK = 1 << 20  # bytes
PACKED_CHUNK = 1 << 16  # bytes; small, because its rest is copied at the end of every part of a gzip file
_GZIP_OR_ZLIB = 47  # zlib's wbits that accept both headers


@dataclass(frozen=True)
class Layout:
    """Where the values of an image are stored; a real value is slope × stored value + intercept."""

    file: Path  # that holds the values
    shape: tuple[int, ...]  # of the stored array, slowest axis first as in numpy
    dtype: np.dtype[Any]  # of the stored values, with their byte order
    size: tuple[int, ...]  # pixels along x, y[, z[, t]], without channels
    channels: int  # values per pixel
    frame: Frame  # in all dimensions of `size`
    start: int  # first byte of the values, or of their packed stream
    packed: bool = False  # by gzip or zlib
    skip: int = 0  # bytes before the values in the unpacked stream
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_scaled(self) -> bool:
        """Whether real values differ from stored ones."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def scaled_dtype(self) -> np.dtype[Any]:
        """Of scaled values, as in ITK."""
        return np.dtype(np.float64 if self.dtype.newbyteorder("=") == np.float64 else np.float32)

    def check(self) -> None:
        """Raise ImageError if `check_claim` refuses the values, or if the file is shorter than they are."""
        stored, scaled = self.dtype.itemsize, self.scaled_dtype.itemsize if self.is_scaled else 0
        check_claim(self.file, self.shape[::-1], stored + scaled, 8 * stored)
        expected, held = self.start + math.prod(self.shape) * self.dtype.itemsize, self.file.stat().st_size
        if not self.packed and held < expected:
            raise ImageError(f"image: {self.file} is cut: expected {expected} bytes, found {held}")

    def read(self) -> npt.NDArray[Any]:
        """Read the values in native byte order; scaled values are of `scaled_dtype`."""
        if self.packed:
            values = np.empty(self.shape, self.dtype)
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                fill(values, inflated(stream, str(self.file)), str(self.file), self.skip)
        else:
            values = np.fromfile(self.file, self.dtype, math.prod(self.shape), offset=self.start).reshape(self.shape)
        if not values.dtype.isnative:
            values = values.byteswap(inplace=True).view(values.dtype.newbyteorder())
        if not self.is_scaled:
            return values
        scaled = np.empty(self.shape, self.scaled_dtype)
        for stored, real in zip(values, scaled, strict=True):  # slice by slice: intermediates are float64
            real[...] = stored * self.slope + self.intercept
        return scaled


def fill(values: npt.NDArray[Any], chunks: Iterable[bytes], source: str, skip: int = 0) -> None:
    """Fill a contiguous array in place with the bytes after the first `skip`; ImageError if they are too few."""
    target = values.reshape(-1).view(np.uint8)
    found = -skip
    for chunk in chunks:
        piece = chunk[max(-found, 0) : max(target.size - found, 0)]
        start = max(found, 0)
        target[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
        found += len(chunk)
        if found > target.size + CHUNK:
            return  # do not read on: a file may unpack to a thousand times its length
    if found < target.size:
        raise ImageError(f"image: {source} is cut: expected {target.size} bytes of values, found {max(found, 0)}")


def inflated(stream: IO[bytes], source: str) -> Iterator[bytes]:
    """Unpack a gzip or zlib stream in chunks and verify its checksum; ImageError if it is damaged or cut."""
    data = b""
    while True:
        engine = zlib.decompressobj(_GZIP_OR_ZLIB)
        while not engine.eof:
            data = data or stream.read(PACKED_CHUNK)
            if not data:
                raise ImageError(f"image: {source} is cut: its packed values have no end")
            try:
                yield engine.decompress(data, CHUNK)
            except zlib.error as error:
                raise ImageError(f"image: {source} is damaged: {error}") from error
            data = engine.unconsumed_tail
        data = engine.unused_data + stream.read(2)  # the next part's two magic bytes, even if the chunk cut them
        if not data.startswith(b"\x1f\x8b"):  # a gzip file may have several parts, and zeros after the last
            return
