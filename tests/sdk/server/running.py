"""A server on a free port of this machine, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp

from medsam_edge.server.command import open_port, server_for
from medsam_edge.server.limits import Limits

TOKEN = "a-token-of-the-tests"  # noqa: S105


@contextmanager
def running(app: ASGIApp, limits: Limits | None = None) -> Iterator[str]:
    """Yield the server's URL; stop it at the end."""
    with open_port("127.0.0.1", 0) as listening:
        server = server_for(app, limits or Limits())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
