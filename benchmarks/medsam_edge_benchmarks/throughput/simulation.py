"""Many machines, one store and images to segment: a discrete simulation, and the closed form that it checks.

Every worker takes an image, reads it from the store, which serves one request after the other, computes, and writes the
label map. Machines are lost now and then; the image that a lost worker had begun is begun again elsewhere, and the
machine is back after a while.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Site:
    """Machines and their store.

    Attributes:
        nodes: machines.
        workers: of each machine.
        image_s: seconds that one worker computes for an image.
        spread: standard deviation of these seconds as a share of their mean.
        image_bytes: read and written for an image.
        store_bytes_s: bytes a second that the store gives, to all machines together.
        lost_per_h: losses of a machine in an hour.
        away_s: seconds until a lost machine works again.
    """

    nodes: int
    workers: int
    image_s: float
    image_bytes: float
    store_bytes_s: float
    spread: float = 0.5
    lost_per_h: float = 0.0
    away_s: float = 300.0

    @property
    def compute_rate(self) -> float:
        """Images a second that the workers could do, were the store infinitely fast and no machine lost."""
        return self.nodes * self.workers / self.image_s

    @property
    def store_rate(self) -> float:
        """Images a second that the store could serve."""
        return self.store_bytes_s / self.image_bytes

    @property
    def up(self) -> float:
        """Share of the time that a machine works: between losses, out of that and of being away."""
        return 1 / (1 + self.lost_per_h / 3600 * self.away_s)

    @property
    def kept(self) -> float:
        """Share of the work that is not lost: a loss costs each of its workers half an image, on the mean."""
        return 1 / (1 + self.lost_per_h / 3600 * self.image_s / 2)

    @property
    def rate(self) -> float:
        """Images a second, the closed form: what saturates first. A worker also waits for its own reading."""
        own = self.nodes * self.workers / (self.image_s + self.image_bytes / self.store_bytes_s)
        return min(own * self.up * self.kept, self.store_rate)

    @property
    def limit(self) -> str:
        return "store" if self.store_rate <= self.compute_rate * self.up * self.kept else "processors"


@dataclass(frozen=True)
class Outcome:
    """Seconds that the images took, images begun in vain, machines lost, share of time in which the store served."""

    seconds: float
    redone: int
    losses: int
    store_busy: float


READ, COMPUTED, LOST, BACK = range(4)


def simulate(site: Site, images: int, seed: int = 0) -> Outcome:
    """Segment so many images; the same seed gives the same outcome."""
    random = np.random.default_rng(seed)
    shape = 1 / site.spread**2 if site.spread else 0.0
    served = site.image_bytes / site.store_bytes_s
    events: list[tuple[float, int, int, int, int]] = []  # time, number, kind, machine, its life
    life = [0] * site.nodes
    left, done, redone, losses, number = images, 0, 0, 0, 0
    store_free, store_busy, now = 0.0, 0.0, 0.0
    begun, idle = [0] * site.nodes, [0] * site.nodes

    def push(at: float, kind: int, node: int) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (at, number, kind, node, life[node]))

    def take(node: int) -> None:
        """A worker's next image: its reading, after all that the store was asked for before."""
        nonlocal left, store_free, store_busy
        if not left:
            idle[node] += 1
        else:
            left -= 1
            begun[node] += 1
            store_free = max(store_free, now) + served
            store_busy += served
            push(store_free, READ, node)

    def start(node: int) -> None:
        for _ in range(site.workers):
            take(node)
        if site.lost_per_h:
            push(now + random.exponential(3600 / site.lost_per_h), LOST, node)

    for node in range(site.nodes):
        start(node)
    while done < images:
        now, _, kind, node, born = heapq.heappop(events)
        if kind == BACK:
            start(node)
        elif born != life[node]:
            continue
        elif kind == READ:
            seconds = site.image_s * (random.gamma(shape, 1 / shape) if shape else 1.0)
            push(now + seconds, COMPUTED, node)
        elif kind == COMPUTED:
            done += 1
            begun[node] -= 1
            take(node)
        else:
            losses, redone, left = losses + 1, redone + begun[node], left + begun[node]
            begun[node] = idle[node] = 0
            life[node] += 1
            push(now + site.away_s, BACK, node)
            for other in range(site.nodes):
                for _ in range(min(idle[other], left)):
                    idle[other] -= 1
                    take(other)
    return Outcome(now, redone, losses, store_busy / now if now else 0.0)
