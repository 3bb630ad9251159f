"""Recognise a DICOM file by its first bytes, without pydicom."""

from __future__ import annotations

from pathlib import Path

HEAD_BYTES = 4096
"""Enough for the identifiers of class and encoding, which come first."""


def is_dicom(file: Path) -> bool:
    """Whether the file has DICOM's preamble, or begins with a DICOM element."""
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    bare = head.startswith((b"\x02\x00", b"\x08\x00", b"\x00\x08")) and b"1.2.840.10008." in head
    return bare or head[128:132] == b"DICM"
