"""Contents of image files, built field by field, so that headers can be rare or false."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable
from typing import Any

import cv2
import nibabel
import numpy as np
import numpy.typing as npt

from tests.sdk.fuzz import with_checksums

GREY = np.random.default_rng(0).integers(0, 255, (24, 20), np.uint8)


RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


VOLUME = np.random.default_rng(1).integers(-1000, 1000, (4, 6, 7), np.int16)


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 4\nendian: little\nencoding: raw\n"


META = b"ObjectType = Image\nNDims = 3\nDimSize = 7 6 4\nElementType = MET_SHORT\n"


def picture(suffix: str, image: npt.NDArray[Any] = RGB) -> bytes:
    return cv2.imencode(suffix, image[..., ::-1] if image.shape[2:] == (3,) else image)[1].tobytes()


def one_bit(image: npt.NDArray[np.uint8]) -> bytes:
    how = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 9]
    return cv2.imencode(".png", image, how)[1].tobytes()


def png(width: int, height: int, depth: int = 8, color: int = 0) -> bytes:
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0), b"IDAT": bytes(9), b"IEND": b""}
    parts = (struct.pack(">I", len(data)) + kind + data + bytes(4) for kind, data in chunks.items())
    return with_checksums(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def tiff(tags: dict[int, int], order: str = "<", more: Iterable[tuple[int, int]] = ()) -> bytes:
    pairs = [*more, *sorted(tags.items())]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in pairs)
    magic = b"II" if order == "<" else b"MM"
    return magic + struct.pack(order + "HIH", 42, 8, len(pairs)) + entries + bytes(4)


def nifti(shape: tuple[int, ...] = (7, 6, 4), dtype: str = "<i2", data: bytes | None = None, **fields: Any) -> bytes:
    header = nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(np.dtype(dtype))
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    for name, value in {"magic": b"n+1", "vox_offset": 352, **fields}.items():
        header[name] = value
    return header.binaryblock + bytes(4) + (VOLUME.astype(dtype).tobytes() if data is None else data)


def npz(header: str, data: bytes = b"", method: int = zipfile.ZIP_DEFLATED, version: bytes = b"\1\0") -> bytes:
    buffer = io.BytesIO()
    text = header.encode() + b"\n"
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(text))
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("imgs.npy", b"\x93NUMPY" + version + length + text + data)
    return buffer.getvalue()


def npy(shape: object, dtype: object = "|u1") -> str:
    return f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"


def lying_zip(content: bytes, size: int) -> bytes:
    """Change the unpacked size of the first member in the central directory."""
    at = content.index(b"PK\1\2")
    return content[: at + 24] + struct.pack("<I", size) + content[at + 28 :]
