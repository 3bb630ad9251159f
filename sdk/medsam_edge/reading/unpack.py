"""Unpack a file's bytes into an array, without further memory, and refuse cut or damaged bytes.

ITK fills missing values with zeros or with the output of a damaged stream, without an error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError

CHUNK = 1 << 20  # bytes
PACKED_CHUNK = 1 << 16  # bytes; small, because its rest is copied at the end of every part of a gzip file
_GZIP_OR_ZLIB = 47  # zlib's wbits that accept both headers


def fill(values: npt.NDArray[Any], chunks: Iterable[bytes], source: str, skip: int = 0) -> None:
    """Fill a contiguous array with the bytes after the first `skip`; later bytes are ignored.

    Args:
        values: the array, changed in place.
        chunks: pieces of the byte stream, in order.
        source: words for the file in messages.
        skip: bytes before the values.

    Raises:
        ImageError: the stream is too short.
    """
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
    """Unpack a gzip or zlib stream in chunks; its checksum is verified at its end.

    Raises:
        ImageError: the stream is damaged, or ends too soon.
    """
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
