"""Who holds a session, and until when."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from medsam_edge.server.errors import Busy, LeaseLost
from medsam_edge.server.nninteractive.session import ViewerSession


@dataclass(frozen=True)
class LeaseRules:
    """How many sessions there are, and for how long.

    Attributes:
        sessions: at once.
        idle_seconds: without an interaction, after which a session ends.
        silent_seconds: without any call, heartbeats included.
    """

    sessions: int = 4
    idle_seconds: float = 600.0
    silent_seconds: float = 60.0


@dataclass(eq=False)
class Lease:
    """A session and the time of its last interaction and of its last call."""

    session: ViewerSession
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    acted: float = field(default_factory=time.monotonic)
    seen: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Leases:
    """The sessions of all viewers. Those whose time is over end when anybody calls."""

    def __init__(
        self, make: Callable[[], ViewerSession], rules: LeaseRules, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make, self.rules, self._clock = make, rules, clock
        self._leases: dict[str, Lease] = {}
        self._lock = threading.Lock()

    def claim(self) -> Lease:
        """Raises Busy where all sessions are taken."""
        with self._lock:
            self._sweep()
            if len(self._leases) >= self.rules.sessions:
                raise Busy(f"all {self.rules.sessions} sessions are taken")
            lease = Lease(self._make(), acted=self._clock(), seen=self._clock())
            self._leases[lease.key] = lease
            return lease

    def find(self, key: str | None, *, acts: bool = True, seen: bool = True) -> Lease:
        """A session by its key, and note that its client lives, or acts.

        Raises:
            LeaseLost: there is none, or it has ended.
        """
        with self._lock:
            self._sweep()
            lease = self._leases.get(key or "")
            if lease is None:
                raise LeaseLost("the session has ended, or never began")
            if acts:
                self.touch(lease)
            elif seen:
                lease.seen = self._clock()
            return lease

    def touch(self, lease: Lease) -> None:
        """Its client has acted until now."""
        lease.acted = lease.seen = self._clock()

    def release(self, key: str | None) -> None:
        with self._lock:
            self._leases.pop(key or "", None)

    def remaining(self, lease: Lease) -> float:
        """Seconds until it ends for want of interactions."""
        return max(0.0, self.rules.idle_seconds - (self._clock() - lease.acted))

    def __len__(self) -> int:
        return len(self._leases)

    def _sweep(self) -> None:
        now = self._clock()
        for key, lease in list(self._leases.items()):
            busy = lease.lock.locked()
            idle = now - lease.acted > self.rules.idle_seconds
            if not busy and (idle or now - lease.seen > self.rules.silent_seconds):
                del self._leases[key]
