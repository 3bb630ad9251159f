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
from medsam_edge.reading.limits import check_claim
from medsam_edge.reading.unpack import CHUNK, fill

HEADER_BYTES = 1 << 14
"""The header of an array of numbers has about 100 bytes; numpy refuses more than 10,000."""


def read_npz(file: Path) -> LoadedImage:
    """Read a challenge file; its volume boxes get an exclusive z1.

    Raises:
        ImageError: the file is unreadable, too large, or has no `imgs`, or its `spacing` is not three positive numbers.
    """
    with zipfile.ZipFile(file) as archive:
        image = read_array(archive, "imgs", file)
        others = {name: read_array(archive, name, file) for name in ("spacing", "boxes") if _holds(archive, name)}
    return LoadedImage(image, _frame(image, others.get("spacing")), boxes=_boxes(others.get("boxes")))


def read_array(archive: zipfile.ZipFile, name: str, file: Path) -> npt.NDArray[Any]:
    """Read one array of an npz. Its header is checked first, so that a small file cannot claim all memory.

    Raises:
        ImageError: the array is missing, too large, cut, of Python objects, or packed by a method numpy does not write.
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
        shape, fortran, dtype = _header(head, name, file)
        expected = head.tell() + math.prod(shape) * dtype.itemsize
        if member.file_size != expected:
            raise ImageError(f"image: {name!r} in {file}: expected {expected} bytes, got {member.file_size}")
        values = np.empty(math.prod(shape), dtype)
        fill(values, itertools.chain([head.read()], iter(lambda: stream.read(CHUNK), b"")), f"{name!r} in {file}")
    return values.reshape(shape, order="F" if fortran else "C")


def _header(head: io.BytesIO, name: str, file: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parse shape, whether in Fortran order, and dtype; `head` ends up where the values start."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(head)
    if version not in readers:
        raise ImageError(f"image: expected {name!r} in {file} as npy 1.0 or 2.0, got {version}")
    shape, fortran, dtype = readers[version](head)
    if dtype.hasobject:
        raise ImageError(f"image: {name!r} in {file} holds Python objects, which are not read")
    if math.prod(shape):
        check_claim(file, shape, dtype.itemsize)
    return shape, fortran, dtype


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
