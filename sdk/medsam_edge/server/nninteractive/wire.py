"""Arrays on the wire: what a client claims is checked before memory is taken. The format is nninteractive-client's."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import blosc2
import numpy as np
import numpy.typing as npt
from nnInteractive.inference.remote.serialization import MAGIC, VERSION, pack_array, unpack_array

from medsam_edge.errors import InputError
from medsam_edge.reading.limits import check_size

HEAD = struct.Struct("<4sBBBB")
CHUNK = struct.Struct("<QQ")
LEAST_FRAME = 32
"""Bytes of the head of a blosc2 chunk."""


def unpacked(body: bytes, dimensions: int) -> npt.NDArray[Any]:
    """The array in a request's body.

    Raises:
        InputError: not such an array, more than the sdk's limit for images (an ImageError), or sizes that contradict
            each other.
    """
    try:
        _check(body, dimensions)
        array: npt.NDArray[Any] = unpack_array(body)
    except InputError:
        raise
    except Exception as error:  # blosc2 has errors of its own, without a common base
        raise InputError(f"array: cannot be unpacked: {error}") from error
    return array


def _check(body: bytes, dimensions: int) -> None:
    magic, version, _, count, length = HEAD.unpack_from(body)
    if magic != MAGIC or version != VERSION or count != dimensions:
        raise InputError(f"array: expected {dimensions} dimensions in nnInteractive's format {VERSION}, got {count}")
    at = HEAD.size
    kind = np.dtype(body[at : at + length].decode("ascii"))
    at += length
    shape = struct.unpack_from(f"<{count}q", body, at)
    at += 8 * count
    if kind.kind not in "buif" or kind.itemsize > 8:
        raise InputError(f"array: expected real numbers, got {kind}")
    check_size("the array", shape, kind.itemsize)
    size = math.prod(shape) * kind.itemsize
    (chunks,) = struct.unpack_from("<I", body, at)
    at += 4
    total = 0
    for _ in range(chunks):
        whole, packed = CHUNK.unpack_from(body, at)
        at += CHUNK.size
        frame = memoryview(body)[at : at + packed]
        if packed < LEAST_FRAME or len(frame) != packed:
            raise InputError("array: cut off")
        held, stored, _ = blosc2.get_cbuffer_sizes(frame)
        if held != whole or stored != packed:
            raise InputError(f"array: a chunk says {whole} bytes and holds {held}")
        total, at = total + whole, at + packed
        if total > size:
            break
    if total != size:
        raise InputError(f"array: shape {shape} of {kind} takes {size} bytes, the chunks hold {total}")


def packed(array: npt.NDArray[Any]) -> bytes:
    """A mask as a body."""
    body: bytes = pack_array(array, filters=[blosc2.Filter.NOFILTER], nthreads=1)
    return body


def meta_of(header: str | None) -> dict[str, Any]:
    """What a request with an array says beside it.

    Raises:
        InputError: no JSON object.
    """
    try:
        meta = json.loads(header or "{}")
    except (ValueError, RecursionError) as error:
        raise InputError("X-Meta: expected JSON") from error
    if not isinstance(meta, dict):
        raise InputError(f"X-Meta: expected an object, got {type(meta).__name__}")
    return meta
