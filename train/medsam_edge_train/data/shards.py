"""Shards: plain tar files in WebDataset's naming, read by byte offset.

    CT/liver/case1/z0035.image.png    8-bit grey or RGB; or image.jpg
    CT/liver/case1/z0035.mask.png     label map, 8 or 16 bits
    CT/liver/case1/z0035.json         its modality, data set and patient

Members of one sample share the text before the first dot, the sample's key. WebDataset reads such a file as a stream.
Here its headers are read once, so that samples can be drawn in any order and a training run resumes exactly.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from medsam_edge.errors import FileMissingError, ImageError, InputError
from medsam_edge.writing.whole import replacing

END = bytes(2 * tarfile.BLOCKSIZE)  # a complete tar ends with two empty blocks
KEY = re.compile(r"[A-Za-z0-9_%~-]+(/[A-Za-z0-9_%~-]+)*")


class Blob(NamedTuple):
    """Bytes on disk: a whole file, or a member of a tar. It holds no open file, so any process can read it."""

    path: Path
    offset: int = 0  # bytes
    size: int | None = None  # bytes; None for the rest of the file

    def read(self) -> bytes:
        """The bytes.

        Raises:
            ImageError: the file is missing, unreadable or shorter than expected.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(-1 if self.size is None else self.size)
        except OSError as error:
            raise ImageError(f"data: cannot read {self}: {error.strerror}") from error
        if self.size is not None and len(data) != self.size:
            raise ImageError(f"data: cannot read {self}: expected {self.size} bytes, found {len(data)}")
        return data

    def __str__(self) -> str:
        return str(self.path) if self.size is None else f"{self.path} at byte {self.offset}"


def make_key(*parts: str) -> str:
    """Names as one sample key, `part/part/part`; characters other than letters, digits, `_`, `-`, `~` become %XX.

    Different names give different keys. No key has a dot, so a shard cannot be unpacked outside its folder.

    Raises:
        InputError: there is no part, or an empty part.
    """
    if not parts or not all(parts):
        raise InputError(f"key: expected names, got {parts}")
    return "/".join(quote(part, safe="", errors="surrogateescape").replace(".", "%2E") for part in parts)


def write_shard(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> int:
    """Write samples as one tar, whole or not at all; the same samples give the same bytes.

    Args:
        path: file to write.
        samples: (key of `make_key`, {extension: content}); extensions have no leading dot.

    Returns:
        Size of the tar in bytes. No samples give a tar without members.

    Raises:
        InputError: a key that `make_key` would not make.
    """
    with replacing(path) as partial:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
            for key, members in samples:
                if not KEY.fullmatch(key):
                    raise InputError(f"key: expected one of make_key, got {key!r}")
                for extension, content in members.items():
                    member = tarfile.TarInfo(f"{key}.{extension}")  # mtime, uid and gid are 0
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        return partial.stat().st_size


def shard_index(root: Path) -> dict[str, dict[str, Blob]]:
    """Members of all tars in a folder: {key: {extension: Blob}}, in the order of tar names, then as in the tar.

    Only headers are read and nothing is unpacked, so the name of a member can do no harm. Tars whose name has a leading
    dot (unfinished ones) are left out. A folder without tars gives {}.

    Raises:
        FileMissingError: the folder does not exist.
        ImageError: a tar is damaged, incomplete or compressed, or two samples have the same key.
    """
    if not root.is_dir():
        raise FileMissingError(f"data: expected a folder, got {root}")
    index: dict[str, dict[str, Blob]] = {}
    for path in sorted(root.glob("[!.]*.tar")):
        for name, blob in _members(path):
            folder, slash, base = name.rpartition("/")
            stem, _, extension = base.partition(".")
            members = index.setdefault(f"{folder}{slash}{stem}", {})
            if extension in members:
                raise ImageError(f"data: {name} is in {members[extension].path} and in {path}")
            members[extension] = blob
    return index


def _members(path: Path) -> list[tuple[str, Blob]]:
    try:
        with tarfile.open(path, "r:") as tar:  # no compression
            members = tar.getmembers()
            end = tar.offset
        with path.open("rb") as file:
            file.seek(end)
            complete = file.read(len(END)) == END  # tarfile also stops without an error at a cut or damaged header
    except (tarfile.TarError, OSError) as error:
        raise ImageError(f"data: expected a tar, {path} is another file or damaged: {error}") from error
    if not complete:
        raise ImageError(f"data: {path} is damaged or incomplete after {len(members)} members")
    return [(m.name, Blob(path, m.offset_data, m.size)) for m in members if m.isreg() and not m.issparse()]
