"""Write files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import cv2

from medsam_edge.errors import ImageError
from medsam_edge.reading.unreadable import unreadable


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. It replaces `path` at the end of the block, or is deleted after an error.

    The temporary name is unique, so threads may save to one path. It ends in the same suffixes in lower case, because
    some writers know no others. A process that is killed leaves `.PID.ID.partial.NAME` behind. Nothing reads that file
    and anyone may delete it; this function does not, because in a shared folder PID may be alive on another machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.lower()[-40:]  # the end keeps the suffixes; a long name would become too long
    partial = path.with_name(f".{os.getpid()}.{uuid4().hex[:8]}.partial.{name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing_whole(path: Path) -> Iterator[Path]:
    """`replacing`, with one ImageError for a full disk, a read-only folder and the like."""
    try:
        with replacing(path) as partial:
            yield partial
    except (OSError, RuntimeError, ValueError, cv2.error) as error:  # a null character in a path is a ValueError
        reason = getattr(error, "strerror", None) or str(unreadable(path, error)).partition(": ")[2]
        raise ImageError(f"output: cannot write {path}: {reason}") from error
