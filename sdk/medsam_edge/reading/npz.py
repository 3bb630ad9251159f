"""The challenge's npz files: `imgs`, and `boxes` and `spacing` if present."""

from __future__ import annotations

import io
import itertools
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.boxes import are_volume_boxes
from medsam_edge.errors import ImageError
from medsam_edge.image import Frame, LoadedImage
from medsam_edge.reading.layout import CHUNK, fill
from medsam_edge.reading.limits import check_claim

HEADER_BYTES = 1 << 14
"""The header of an array of numbers has about 100 bytes; numpy refuses more than 10,000."""
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(file: Path) -> LoadedImage:
    """Read a challenge file; its volume boxes get an exclusive z1. ImageError without `imgs`, or for bad `spacing`.

    Boxes that are Python objects, as in the challenge of 2025, are not read; `check_boxes` refuses what stands for
    them.
    """
    with zipfile.ZipFile(file) as archive:
        image = read_array(archive, "imgs", file)
        names = [name for name in ("spacing", "boxes") if _holds(archive, name)]
        others = {name: read_array(archive, name, file, name == "boxes") for name in names}
    return LoadedImage(image, _frame(image, others.get("spacing")), boxes=_boxes(others.get("boxes")))


def read_array(archive: zipfile.ZipFile, name: str, file: Path, objects: bool = False) -> npt.NDArray[Any]:
    """Read one array of an npz. Its header is checked first, so that a small file cannot claim all memory.

    Python objects are refused; with `objects`, texts in the shape of one volume box stand for them.
    """
    if not _holds(archive, name):
        raise ImageError(
            f"image: expected an array {name!r} in {file}, found {', '.join(archive.namelist()[:20]) or 'none'}"
        )
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others have no bound on their ratio
        raise ImageError(f"image: expected {name!r} in {file} stored or deflated, got method {member.compress_type}")
    with archive.open(member) as stream:
        head = io.BytesIO(stream.read(HEADER_BYTES))
        version = np.lib.format.read_magic(head)
        if version not in _HEADER_READERS:
            raise ImageError(f"image: expected {name!r} in {file} as npy 1.0 or 2.0, got {version}")
        shape, fortran, dtype = _HEADER_READERS[version](head)
        if dtype.hasobject and objects:
            return np.array([["Python objects", *[""] * 5]])
        if dtype.hasobject:
            raise ImageError(f"image: {name!r} in {file} holds Python objects, which are not read")
        if math.prod(shape):
            check_claim(file, shape, dtype.itemsize)
        expected = head.tell() + math.prod(shape) * dtype.itemsize
        if member.file_size != expected:
            raise ImageError(f"image: {name!r} in {file}: expected {expected} bytes, got {member.file_size}")
        values = np.empty(math.prod(shape), dtype)
        fill(values, itertools.chain([head.read()], iter(lambda: stream.read(CHUNK), b"")), f"{name!r} in {file}")
    return values.reshape(shape, order="F" if fortran else "C")


def _holds(archive: zipfile.ZipFile, name: str) -> bool:
    return f"{name}.npy" in archive.NameToInfo


def _frame(image: npt.NDArray[Any], spacing: npt.NDArray[Any] | None) -> Frame | None:
    """Make a volume's frame; the challenge stores spacing as x, y, z. None for other images."""
    if spacing is None or image.ndim != 3 or image.shape[2] == 3:
        return None
    values = tuple(float(value) for value in np.ravel(spacing))
    if len(values) != 3 or not all(0 < value < math.inf for value in values):
        raise ImageError(f"spacing: expected three positive numbers x, y, z, got {values}")
    return Frame(values, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def _boxes(boxes: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
    """Make z1 exclusive: the challenge stores the last slice. Non-numbers stay for `check_boxes` to refuse."""
    if boxes is None or not are_volume_boxes(boxes) or not np.issubdtype(boxes.dtype, np.number):
        return boxes
    ours = boxes.astype(np.float64)
    ours[..., 5] += 1
    return ours
