"""Who comes in, with how much, and how slowly."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.guard import AUDIT
from medsam_edge.server.limits import MIB, Limits
from medsam_edge.server.service import Service
from tests.sdk.fake import prompted_model
from tests.sdk.server.running import TOKEN, running

IMPATIENT = Limits(upload_bytes=MIB, json_bytes=1000, silence_seconds=0.3, request_seconds=1.0, connections=20)


@pytest.fixture(scope="module")
def strict(folder: Path) -> Iterator[str]:
    """A server without patience."""
    service = Service(Segmenter(prompted_model()), IMPATIENT, folder)
    with running(make_app(service, TOKEN), IMPATIENT) as found:
        yield found


def ask(url: str, **headers: str) -> int:
    given = {"authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{url}/api/v1/server", headers=given).status_code


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xfc"]
)
def test_every_call_needs_the_token(strict: str, given: str) -> None:
    answer = httpx.get(f"{strict}/api/v1/server", headers={"authorization": given.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["type"] == "Unauthorized"


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/openapi.json", "/api/v1/files", "/none", "/static", "//"])
def test_only_the_page_is_open(strict: str, path: str) -> None:
    assert httpx.get(f"{strict}{path}").status_code == 401
    assert httpx.post(f"{strict}/").status_code == 401


def test_the_page_may_load_nothing_from_elsewhere(strict: str) -> None:
    answer = httpx.get(f"{strict}/")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx.get(f"{strict}/static/%2e%2e/app.py").status_code == 404
    assert httpx.get(f"{strict}/static/../app.py").status_code in (401, 404)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1234", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example@localhost", 403),
        ("localhost/evil", 403),
        ("127.0.0.2", 403),
        ("[", 403),
    ],
)
def test_no_other_name_is_answered(strict: str, host: str, status: int) -> None:
    assert ask(strict, host=host) == status


def test_no_page_of_another_origin_is_answered(strict: str) -> None:
    own = urlsplit(strict).netloc
    assert ask(strict, origin=f"http://{own}") == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "", f"http://evil.example/{own}"):
        assert ask(strict, origin=origin) == 403
    assert ask(strict, sec_fetch_site="same-origin") == ask(strict, sec_fetch_site="none") == 200
    assert ask(strict, sec_fetch_site="cross-site") == ask(strict, sec_fetch_site="same-site") == 403


def test_sizes_are_checked_before_anything_is_read(strict: str) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    for path, size in (("/api/v1/images", 2 * MIB + 1), ("/api/v1/images/open", 1001)):
        request = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        answer = exchange(strict, f"{request}Content-Length: {size}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"TooLarge" in answer
    chunked = httpx.post(f"{strict}/api/v1/images/open", headers=headers, content=iter([b"{}"]))
    assert chunked.status_code == 411


def exchange(url: str, sent: bytes, seconds: float = 10.0) -> bytes:
    """What comes back until the server closes; the client sends nothing more."""
    parts = urlsplit(url)
    received = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=seconds) as connection:
        connection.sendall(sent)
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"GET / HT", b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b""),
        (
            b"POST /api/v1/images/open HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            + TOKEN.encode()
            + b"\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
            b"HTTP/1.1 4",
        ),
        (
            b"POST /api/v1/images HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
            + TOKEN.encode()
            + b"\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 99\r\n\r\n--x\r\n",
            b"HTTP/1.1 408",
        ),
        (b"\x16\x03\x01\x00\xa5" * 20, b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000, b"HTTP/1.1 4"),
    ],
)
def test_slow_and_senseless_clients_are_cut_off(strict: str, sent: bytes, status: bytes) -> None:
    assert exchange(strict, sent).startswith(status)
    assert ask(strict) == 200


def test_a_head_that_comes_letter_by_letter(strict: str) -> None:
    parts = urlsplit(strict)
    address = (parts.hostname or "", parts.port or 0)
    with socket.create_connection(address, timeout=10) as connection, pytest.raises(ConnectionError):
        for letter in b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 1000:
            connection.sendall(bytes([letter]))
            time.sleep(0.01)


def test_the_audit_log_names_no_file_and_no_id(strict: str, caplog: pytest.LogCaptureFixture) -> None:
    AUDIT.propagate = True
    with caplog.at_level(logging.INFO, logger=AUDIT.name):
        httpx.post(
            f"{strict}/api/v1/images/open", headers={"authorization": f"Bearer {TOKEN}"}, json={"file": "Jane Doe.png"}
        )
        httpx.get(f"{strict}/api/v1/images/{'0' * 64}?name=Jane", headers={"authorization": f"Bearer {TOKEN}"})
        lines: list[dict[str, Any]] = []
        end = time.monotonic() + 10  # a line is written after its response
        while len(lines) < 2 and time.monotonic() < end:
            time.sleep(0.01)
            lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == AUDIT.name]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/api/v1/images/open", 404),
        ("/api/v1/images/{image}", 404),
    ]
    assert "Jane" not in caplog.text and "0" * 64 not in caplog.text
