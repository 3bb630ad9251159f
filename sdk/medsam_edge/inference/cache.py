"""What the encoder gave, by the content of the image, within a byte budget."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import InputError
from medsam_edge.networks.model import Arrays


class EmbeddingCache:
    """Least recently used outputs go first when the budget is exceeded. Safe to use from many threads.

    Raises:
        InputError: a budget that is no number, or below 0; it is called `cache_bytes`, as the caller knows it.
    """

    def __init__(self, budget_bytes: int) -> None:
        if not (isinstance(budget_bytes, (int, float, np.integer)) and budget_bytes >= 0):
            raise InputError(f"cache_bytes: expected a number of bytes, 0 for none, got {budget_bytes!r}")
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._items: OrderedDict[str, Arrays] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Arrays | None:
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: str, value: Arrays) -> None:
        """Keep a value; one larger than the whole budget is not kept."""
        with self._lock:
            self._drop(key)
            if _nbytes(value) > self.budget_bytes:
                return
            self._items[key] = value
            self.used_bytes += _nbytes(value)
            while self.used_bytes > self.budget_bytes:
                self._drop(next(iter(self._items)))

    def __len__(self) -> int:
        return len(self._items)

    def _drop(self, key: str) -> None:
        dropped = self._items.pop(key, None)
        if dropped is not None:
            self.used_bytes -= _nbytes(dropped)


def _nbytes(value: Arrays) -> int:
    return sum(array.nbytes for array in value.values())


def content_key(image: npt.NDArray[Any], *settings: object) -> str:
    """A hash of the pixels, their shape and type, and of whatever else decides the embedding."""
    digest = hashlib.sha256(repr((image.shape, image.dtype.str, settings)).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
