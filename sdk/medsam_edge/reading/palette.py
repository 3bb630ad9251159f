"""Label maps as PNG with a palette: a person sees objects in colours, a program reads their numbers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import ImageError
from medsam_edge.reading.limits import check_claim

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MARK = b"Comment\0medsam-edge label map"
"""In the chunk after the header: says that values are numbers of objects and colours only show them."""


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG (https://www.w3.org/TR/png-3/#5Chunk-layout)."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def read_label_png(file: Path) -> npt.NDArray[np.uint8] | None:
    """(H, W) the numbers of a label map that `medsam_edge.writing.palette` wrote; None for any other file."""
    start = len(SIGNATURE) + 25  # of the chunk after the header
    mark = chunk(b"tEXt", MARK)
    with file.open("rb") as stream:
        head = stream.read(start + len(mark))
        if not (head.startswith(SIGNATURE) and head[24:29] == b"\x08\x03\0\0\0" and head[start:] == mark):
            return None
        width, height = struct.unpack_from(">2I", head, 16)
        check_claim(file, (width, height), 1)
        rest = stream.read()
    if head[:start] != SIGNATURE + chunk(b"IHDR", head[16:29]):
        raise ImageError(f"image: {file} is damaged: the checksum of its header differs")
    size, packed = struct.unpack_from(">I", rest, 0)[0] if len(rest) > 4 else 0, b""
    at = 12 + size  # after the palette
    (length,) = struct.unpack(">I", rest[at : at + 4]) if len(rest) >= at + 4 else (0,)
    packed = rest[at + 8 : at + 8 + length]
    if rest[at : at + 12 + length] != chunk(b"IDAT", packed):
        raise ImageError(f"image: {file} is cut or damaged: the checksum of its values differs")
    values = zlib.decompressobj().decompress(packed, height * (width + 1) + 1)
    if len(values) != height * (width + 1):
        raise ImageError(f"image: {file} is damaged: expected {height * (width + 1)} bytes, found {len(values)}")
    rows = np.frombuffer(values, np.uint8).reshape(height, width + 1)
    return None if rows[:, 0].any() else rows[:, 1:].copy()  # packed by another program
