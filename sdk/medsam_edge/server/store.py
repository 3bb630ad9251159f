"""The images and results in memory, within the budgets of the server and of each client."""

from __future__ import annotations

import threading
from collections import OrderedDict

from medsam_edge.server.errors import TooLarge, Unknown
from medsam_edge.server.held import HeldImage
from medsam_edge.server.limits import Limits
from medsam_edge.server.masks import Kept

MOST_CLIENTS = 1024
"""Clients that are told apart; those that came first are forgotten first."""


class Store:
    """Images by content, results by id. Least recently used images go first, with their results.

    An image that two clients opened counts for both. Work on an image that goes is not disturbed: it ends with the
    arrays that it has.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._images: OrderedDict[str, HeldImage] = OrderedDict()
        self._clients: dict[str, OrderedDict[str, None]] = {}  # ids of each client's images, least recently used first
        self._results: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.RLock()

    def add(self, held: HeldImage, client: str) -> HeldImage:
        """Keep an image; returns the one that is kept, which may have been there before.

        Raises:
            TooLarge: it alone is more than a client may have.
        """
        most = min(self._limits.client_bytes, self._limits.memory_bytes)
        if held.nbytes > most:
            held.close()
            raise TooLarge(f"image: takes {held.nbytes} bytes of memory, more than {most}")
        with self._lock:
            known = self._images.setdefault(held.id, held)
            if known is not held:
                held.close()
            self._touch(held.id, client)
            self.trim(held.id)
            return known

    def image(self, key: str, client: str) -> HeldImage:
        """Raises Unknown where it was never opened, or was dropped."""
        with self._lock:
            if key not in self._images:
                raise Unknown("image: there is none of this id; open it again")
            self._touch(key, client)
            return self._images[key]

    def images(self) -> list[HeldImage]:
        with self._lock:
            return list(self._images.values())

    def keep(self, kept: Kept) -> Kept:
        with self._lock:
            if kept.image in self._images:  # else it was closed meanwhile
                self._results[kept.id] = kept
                self.trim(kept.image)
            return kept

    def result(self, key: str) -> Kept:
        """Raises Unknown where there is none, or was dropped."""
        with self._lock:
            if key not in self._results:
                raise Unknown("segmentation: there is none of this id; it may have been dropped with its image")
            self._images.move_to_end(self._results[key].image)
            return self._results[key]

    def drop(self, key: str) -> None:
        """Forget an image and its results."""
        with self._lock:
            held = self._images.pop(key, None)
            for own in self._clients.values():
                own.pop(key, None)
            for result in [result.id for result in self._results.values() if result.image == key]:
                del self._results[result]
        if held:
            held.close()

    def clear(self) -> None:
        for held in self.images():
            self.drop(held.id)

    @property
    def nbytes(self) -> int:
        with self._lock:
            return sum(self._sizes().values())

    def trim(self, current: str) -> None:
        """Drop what is over budget, but not the image at hand; of that, the oldest results."""
        with self._lock:
            for client in list(self._clients):
                self._trim_client(client, current)
            sizes = self._sizes()
            for key in [key for key in self._images if key != current]:
                if sum(sizes.values()) <= self._limits.memory_bytes:
                    return
                self.drop(key)
                del sizes[key]

    def _trim_client(self, client: str, current: str) -> None:
        own, sizes = self._clients[client], self._sizes()
        for key in list(own):
            if sum(sizes[other] for other in own) <= self._limits.client_bytes:
                return
            if key != current:
                del own[key]
                if not any(key in others for others in self._clients.values()):
                    self.drop(key)
        results = [result for result in self._results.values() if result.image == current]
        over = sum(sizes.get(other, 0) for other in own) - self._limits.client_bytes
        for result in results[:-1]:
            if over <= 0:
                return
            over -= result.nbytes
            del self._results[result.id]

    def _touch(self, key: str, client: str) -> None:
        self._images.move_to_end(key)
        own = self._clients.setdefault(client, OrderedDict())
        if len(self._clients) > MOST_CLIENTS:
            del self._clients[next(iter(self._clients))]
        own[key] = None
        own.move_to_end(key)

    def _sizes(self) -> dict[str, int]:
        """Bytes of each image with its results."""
        sizes = {key: held.nbytes for key, held in self._images.items()}
        for result in self._results.values():
            sizes[result.image] += result.nbytes
        return sizes
