"""From a file's bytes to an array: in no more memory than the array's own, and never from cut or damaged bytes.

ITK fills what a file lacks with zeros, or with what a damaged stream happens to give, and does not say so.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError

CHUNK = 1 << 20  # bytes
PACKED_CHUNK = 1 << 16  # what is left of one is copied at every end of a packed part, of which a file may have many
_GZIP_OR_ZLIB = 47  # zlib's code for either


def fill(values: npt.NDArray[Any], chunks: Iterable[bytes], source: str, skip: int = 0) -> None:
    """Fill a contiguous array with what comes after the first `skip` bytes; a little that follows it is let be.

    Raises:
        ImageError: too few bytes came.
    """
    target = values.reshape(-1).view(np.uint8)
    found = -skip
    for chunk in chunks:
        piece = chunk[max(-found, 0) : max(target.size - found, 0)]
        start = max(found, 0)
        target[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
        found += len(chunk)
        if found > target.size + CHUNK:
            return  # not to the end, which may be far: a file may unpack to a thousand times its length
    if found < target.size:
        raise ImageError(f"image: {source} is cut: expected {target.size} bytes of values, found {max(found, 0)}")


def inflated(stream: IO[bytes], source: str) -> Iterator[bytes]:
    """What a gzip or zlib stream holds, in chunks; its own checksum is checked at its end.

    Raises:
        ImageError: it is damaged, or ends too soon.
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
        data = engine.unused_data + stream.read(2)  # of which a part's first byte may be the last
        if not data.startswith(b"\x1f\x8b"):  # a gzip file may have several parts, and zeros after them
            return
