"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import cv2

from medsam_edge.errors import ImageError
from medsam_edge.reading.limits import unreadable


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffixes, in lower case, for not all writers know others) that takes its
    place when the block ends well, and goes if not.

    Every call has its own, so that threads may save to one path. A process that is killed leaves
    `.PID.ID.partial.NAME` behind. Nothing reads it and it can be deleted, but not by us: in a shared folder PID may be
    alive on another machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.lower()[-40:]  # the end, for its suffixes; with all of a long name it would be too long
    partial = path.with_name(f".{os.getpid()}.{uuid4().hex[:8]}.partial.{name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing_whole(path: Path) -> Iterator[Path]:
    """`replacing`, with one kind of error for a full disk, a folder that cannot be written, and the like."""
    try:
        with replacing(path) as partial:
            yield partial
    except (OSError, RuntimeError, ValueError, cv2.error) as error:  # a path with a null character is a ValueError
        reason = getattr(error, "strerror", None) or str(unreadable(path, error)).partition(": ")[2]
        raise ImageError(f"output: cannot write {path}: {reason}") from error
