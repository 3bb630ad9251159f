"""What a worker finds as it starts; apart from the tests, so that it imports little."""

from __future__ import annotations

import signal
import threading

LOCK = threading.Lock()


class Start:
    """Data of which each sample is whether the process could take the lock, and whether it hears Ctrl-C."""

    def __getitem__(self, draw: tuple[int, int, int]) -> tuple[bool, bool]:
        return LOCK.acquire(timeout=1), signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
