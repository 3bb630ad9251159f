"""The command as a user runs it, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from medsam_edge.errors import FileMissingError, InputError
from medsam_edge.server.command import open_port, run
from tests.sdk.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@contextmanager
def served(*options: str, stop: signal.Signals = signal.SIGTERM) -> Iterator[httpx.Client]:
    """A server in a process; a client that has its token."""
    command = [sys.executable, "-m", "medsam_edge.server.command", "--port", "0", *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "sdk")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout and process.stderr
        found = re.match(r"(http://127\.0\.0\.1:\d+)/#token=(\S{32})\n", line := process.stdout.readline())
        assert found, line + process.stderr.read()
        headers = {"authorization": f"Bearer {found[2]}"}
        with httpx.Client(base_url=f"{found[1]}/api/v1", headers=headers, timeout=30) as client:
            yield client
        process.send_signal(stop)


def test_small_packets_do_not_wait() -> None:
    """An answer has a head and a body; the body would wait 40 ms for the client to confirm the head."""
    with open_port("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_was_saved_outlives_a_killed_server(bundle: Path, folder: Path, tmp_path: Path) -> None:
    options = (str(folder), "--bundle", str(bundle), "-o", str(tmp_path / "out"), "--audit", str(tmp_path / "log"))
    with served(*options, stop=signal.SIGKILL) as api:
        image = api.post("/images/open", json={"file": "picture.png"}).json()["id"]
        result = api.post(f"/images/{image}/segmentations", json={"boxes": [[10, 10, 40, 30]]}).json()
        objects = [{"segmentation": result["id"], "name": "one"}]
        assert api.put(f"/images/{image}/saved", json={"objects": objects}).status_code == 200
    with served(*options) as api:
        assert api.post("/images/open", json={"file": "picture.png"}).json()["saved"]
        found = api.get(f"/images/{image}/saved").json()
        assert found["segmentations"][0]["objects"] == result["objects"]
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert len(lines) in (4, 5)  # the last one before the kill may be missing


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        (["none"], FileMissingError, "no such file or folder: none"),
        (["--token", "short"], InputError, "at least 16"),
        (["--token", "with spaces in all of it"], InputError, "without spaces"),
        (["--protocol", "nninteractive", "--modality", "none"], InputError, "modality"),
        (["--host", "192.0.2.1"], InputError, "cannot listen on 192.0.2.1"),
        (["--audit", "/no/such/folder/log"], InputError, "--audit"),
    ],
)
def test_wrong_options(bundle: Path, options: list[str], error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        run(["--bundle", str(bundle), "--port", "0", *options])


@pytest.mark.parametrize("options", [["--memory-mib", "0"], ["--workers", "x"], ["--protocol", "ftp"]])
def test_wrong_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(options)
    assert options[0] in capsys.readouterr().err
