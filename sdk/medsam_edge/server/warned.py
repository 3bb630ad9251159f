"""Warnings of the sdk, for the client whose request they belong to."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_here = threading.local()


def listen() -> None:
    """Give each warning to the thread that asked for it. `warnings.catch_warnings` is not safe with threads."""
    warnings.simplefilter("always", UserWarning)
    warnings.showwarning = _keep


@contextmanager
def collected() -> Iterator[list[str]]:
    """A list of the warnings that this thread gives in the block; without `listen`, it stays empty."""
    outer, texts = getattr(_here, "texts", None), list[str]()
    _here.texts = texts
    try:
        yield texts
    finally:
        _here.texts = outer


def tell(texts: Iterable[str]) -> None:
    """Give warnings again, of work that is not done again."""
    for text in texts:
        _keep(text)


def _keep(message: Warning | str, *_: Any, **__: Any) -> None:
    texts = getattr(_here, "texts", None)
    if texts is not None and str(message) not in texts:
        texts.append(str(message))
