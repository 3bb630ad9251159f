"""The door of the server: who may come in, how much they may bring, how long they may take. Also what is counted."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import threading
import time
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medsam_edge.server.errors import (
    Busy,
    Foreign,
    LengthRequired,
    RequestError,
    TooLarge,
    TooSlow,
    Unauthorized,
)
from medsam_edge.server.limits import MIB, Limits
from medsam_edge.server.metrics import Metrics

AUDIT = logging.getLogger("medsam_edge.server.audit")
"""A line of JSON a request: no names of files, no ids, no values."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
CLIENT_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """ASGI middleware around the whole application.

    Args:
        token: what every call carries, but for the page's own files, which hold no data.
        hosts: names by which the server may be called, without ports.
        public: paths of the page; those that end in `/` with all below them.
        uploads: ends of the paths that take large bodies.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        limits: Limits,
        metrics: Metrics,
        *,
        hosts: Iterable[str] = LOOPBACK,
        public: Iterable[str] = (),
        uploads: Iterable[str] = (),
    ) -> None:
        self._app, self._token, self._limits, self._metrics = app, token.encode(), limits, metrics
        self._hosts = frozenset(host.lower().strip("[]") for host in hosts)
        self._public, self._uploads = tuple(public), frozenset(uploads)
        self._incoming = 0
        self._lock = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # a websocket: refused by not answering
        started, answer, reserved = time.monotonic(), Answer(send), 0
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scope["medsam_edge.client"] = self._client(scope, headers)
        try:
            self._admit(scope, headers)
            reserved = self._reserve(scope["path"], headers)
            await self._app(scope, Body(receive, self._limits), answer)
        except RequestError as error:
            if not answer.status:
                await refusal(error)(scope, receive, answer)
        finally:
            with self._lock:
                self._incoming -= reserved
            self._record(scope, answer.status, time.monotonic() - started, headers.get("content-length", "0"))

    def _admit(self, scope: Scope, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if (urlsplit(f"//{host}").hostname if _is_host(host) else "") not in self._hosts:
            raise Foreign("Host: the server does not answer to this name; see --allow-host")
        origin = headers.get("origin")
        if (origin is not None and origin.partition("://")[2].lower() != host.lower()) or headers.get(
            "sec-fetch-site", "same-origin"
        ) not in ("same-origin", "none"):
            raise Foreign("Origin: expected the server's own page")
        path = scope["path"]
        if scope["method"] in ("GET", "HEAD") and any(
            path == own or (own.endswith("/") and own != "/" and path.startswith(own)) for own in self._public
        ):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise Unauthorized("Authorization: expected Bearer and the token that the server printed")

    def _reserve(self, path: str, headers: dict[str, str]) -> int:
        """Bytes of a large body, counted among those that arrive."""
        if "transfer-encoding" in headers:
            raise LengthRequired("Content-Length: expected the size of the body, got none")
        size = int(headers.get("content-length", "0"))
        large = path in self._uploads
        limit = self._limits.upload_bytes + MIB if large else self._limits.json_bytes
        if size > limit:
            raise TooLarge(f"body: expected at most {limit} bytes, got {size}")
        if not large:
            return 0
        with self._lock:
            if self._incoming and self._incoming + size > limit:
                raise Busy("the server takes other uploads at the moment")
            self._incoming += size
        return size

    def _client(self, scope: Scope, headers: dict[str, str]) -> str:
        named = headers.get("x-client", "")
        if CLIENT_NAME.fullmatch(named):
            return named
        return scope["client"][0] if scope.get("client") else "unknown"

    def _record(self, scope: Scope, status: int, seconds: float, size: str) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.request(scope["method"], route, status, seconds)
        address = scope["client"][0] if scope.get("client") else None
        AUDIT.info(
            json.dumps(
                {
                    "time": round(time.time(), 3),
                    "address": address,
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1e3, 1),
                    "bytes": int(size),
                }
            )
        )


class Answer:
    """`send` that adds the headers and remembers the status; 0 before the response starts."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in names]
            message = {**message, "headers": given + more}
        await self._send(message)


class Body:
    """`receive` that does not wait for ever.

    Raises:
        TooSlow: nothing came for a while, or the whole takes too long.
    """

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._end = time.monotonic() + limits.request_seconds
        self._complete = False

    async def __call__(self) -> MutableMapping[str, Any]:
        if self._complete:  # then this waits for the client to go
            return await self._receive()
        patience = min(self._limits.silence_seconds, self._end - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(patience, 0.001))
        except asyncio.TimeoutError as error:
            raise TooSlow("body: it comes too slowly") from error
        self._complete = not message.get("more_body", False)
        return message


def refusal(error: RequestError) -> JSONResponse:
    """An answer without the application, which closes: a body that is on its way is not read."""
    headers = {"connection": "close"}
    if error.status == Unauthorized.status:
        headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return JSONResponse({"detail": str(error), "type": type(error).__name__}, error.status, headers)


def _is_host(text: str) -> bool:
    """Whether a Host header can be taken apart: letters, digits, dots, dashes, a port; or an address in brackets."""
    return re.fullmatch(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?", text) is not None
