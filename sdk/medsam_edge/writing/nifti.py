"""Label maps as NIfTI where ITK would change the geometry: it makes qform and sform one, with right angles."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsam_edge.image import Frame
from medsam_edge.reading.headers import NIFTI_FORMS

HEADER_BYTES = 352  # with the mark that no extension follows
UINT16, BITS = 512, 16
MM, SCANNER = 2, 1  # codes of the unit and of the coordinates


def write_nifti(path: Path, labels: npt.NDArray[np.uint16], frame: Frame) -> None:
    """Write a label map, (H, W) or (D, H, W), with the geometry of the NIfTI file that the frame is of, or with the
    frame's own as its sform. The suffix .gz packs it."""
    header = bytearray(HEADER_BYTES)
    sides = labels.shape[::-1]
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(sides), *sides, *(1,) * (7 - len(sides)))
    struct.pack_into("<2h", header, 70, UINT16, BITS)
    struct.pack_into("<8f", header, 76, *(1.0,) * 8)
    struct.pack_into("<2f", header, 108, HEADER_BYTES, 1.0)  # where the values begin, and their scale
    header[344:347] = b"n+1"
    numbers = list(frame.nifti or sform(frame))
    for at, form in NIFTI_FORMS:
        count = len(struct.unpack("<" + form, bytes(struct.calcsize("<" + form))))
        values, numbers = numbers[:count], numbers[count:]
        struct.pack_into("<" + form, header, at, *values)
    content = labels.astype("<u2", copy=False).tobytes()
    with path.open("wb") as stream:
        if path.name.endswith(".gz"):
            with gzip.GzipFile("", "wb", 1, stream, mtime=0) as packed:
                packed.write(bytes(header))
                packed.write(content)
        else:
            stream.write(bytes(header))
            stream.write(content)


def sform(frame: Frame) -> tuple[float, ...]:
    """The numbers of `NIFTI_FORMS` for a frame of three dimensions, without a qform: it has right angles."""
    axes = np.reshape(frame.direction, (3, 3)) * frame.spacing_mm
    rows = np.column_stack([axes, frame.origin_mm]) * [[-1], [-1], [1]]
    quaternion = (0.0,) * 6
    return (1.0, *frame.spacing_mm, MM, 0, SCANNER, *quaternion, *rows.ravel().tolist())
