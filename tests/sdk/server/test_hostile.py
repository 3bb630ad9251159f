"""A thousand requests that nobody should send. None makes the server fail, and it goes on."""

from __future__ import annotations

import gzip
import io
import json
import resource
import struct
import zipfile
import zlib
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.limits import MIB, Limits
from medsam_edge.server.service import Service
from tests.sdk.fake import prompted_model
from tests.sdk.server.running import TOKEN, running

HEADERS = {"authorization": f"Bearer {TOKEN}"}
LIMITS = Limits(upload_bytes=4 * MIB, memory_bytes=64 * MIB, client_bytes=32 * MIB, job_seconds=5)
GROWTH = 400 * MIB
"""By which the process may grow: what a reader may take at once, and the budgets."""


@pytest.fixture(scope="module")
def api(folder: object) -> Iterator[httpx.Client]:
    service = Service(Segmenter(prompted_model()), LIMITS, folder)  # type: ignore[arg-type]
    with (
        running(make_app(service, TOKEN), LIMITS) as url,
        httpx.Client(base_url=url, headers=HEADERS, timeout=60) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def bounded(api: httpx.Client) -> Iterator[None]:
    """After each test the server answers, and its process has not grown by more than GROWTH."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert api.get("/healthz").status_code == 200
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH


def png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def npz(size: int) -> bytes:
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size}, {size}), }}".encode().ljust(117) + b"\n"
    with zipfile.ZipFile(content := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imgs.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(1 << 20))
    return content.getvalue()


def nifti(side: int) -> bytes:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, side, side, side, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 4, 16)
    struct.pack_into("<f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    return bytes(head)


NRRD = b"NRRD0004\ntype: uchar\ndimension: %s\nsizes: %s\nencoding: %s\n%s\n"
MHD = b"ObjectType = Image\nNDims = 2\nDimSize = 9 9\nElementType = MET_UCHAR\n"
BOMBS = {
    "bomb.png": png(16000, 16000, zlib.compress(bytes(1 << 20))),
    "huge.png": png(2**31 - 1, 2**31 - 1, b""),
    "short.png": png(4000, 4000, zlib.compress(b"")),
    "bomb.npz": npz(16000),
    "huge.npz": npz(10**9),
    "lie.nii": nifti(1000),
    "bomb.nii.gz": gzip.compress(nifti(600) + bytes(3 << 20)),
    "negative.nii": nifti(-5),
    "bomb.nrrd": NRRD % (b"3", b"9999 9999 9999", b"gzip", b"") + gzip.compress(bytes(99)),
    "outside.nrrd": NRRD % (b"2", b"9 9", b"raw", b"data file: /etc/passwd\n"),
    "outside.mhd": MHD + b"ElementDataFile = /etc/passwd\n",
    "pickle.npz": npz(4)[:60],
    "x.dcm": bytes(128) + b"DICM" + b"\xff" * 2000,
    "empty.png": b"",
    "list.mhd": MHD + b"ElementDataFile = LIST\n../../etc/passwd\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_files_that_lie_about_their_size(api: httpx.Client, name: str) -> None:
    answer = api.post("/api/v1/images", files=[("files", (name, BOMBS[name]))])
    assert answer.status_code == 422, answer.text
    assert "root:" not in answer.text and "Traceback" not in answer.text


NAMES = ["../../x.png", "..", "/etc/passwd", "a\\b.png", "x\0.png", "CON.png", "🧠.png", ".hidden.png", "a" * 5000, ""]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere(api: httpx.Client, name: str) -> None:
    assert 400 <= api.post("/api/v1/images", files=[("files", (name, b"x"))]).status_code < 500
    if "\0" not in name:
        assert 400 <= api.post("/api/v1/images/open", json={"file": name}).status_code < 500
    hidden = "".join(f"%{byte:02x}" for byte in f"../../{name}".encode())
    assert 400 <= api.get(f"/static/{hidden}").status_code < 500


@pytest.mark.slow
def test_a_thousand_senseless_bodies(api: httpx.Client) -> None:
    opened = api.post("/api/v1/images/open", json={"file": "picture.png"}).json()["id"]
    result = api.post(f"/api/v1/images/{opened}/segmentations", json={"boxes": [[0, 0, 9, 9]]}).json()["id"]
    rng = np.random.default_rng(0)
    values = [None, True, -1, 0, 1e308, 1e400, "x" * 99, [], {}, [[]], "NaN", [[1, 2, 3]], [[[[]]]], "\ud800", 2**70]
    paths = [
        f"/api/v1/images/{opened}/segmentations",
        f"/api/v1/images/{opened}/embed",
        f"/api/v1/images/{opened}/export",
        f"/api/v1/images/{opened}/saved",
        f"/api/v1/segmentations/{result}/refine",
        "/api/v1/images/open",
    ]
    fields = [
        "boxes",
        "points",
        "point_labels",
        "prior",
        "axis",
        "modality",
        "window",
        "objects",
        "format",
        "file",
        "x",
    ]
    for number in range(800):
        path = paths[number % len(paths)]
        body = {str(rng.choice(fields)): values[rng.integers(len(values))] for _ in range(rng.integers(1, 4))}
        text = json.dumps(body)
        if number % 7 == 0:
            cut = int(rng.integers(len(text)))
            text = text[:cut] + chr(int(rng.integers(0xD000))) + text[cut:]
        content = text.encode("utf-8", "surrogatepass")
        method = "PUT" if path.endswith("saved") else "POST"
        answer = api.request(method, path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (path, text, answer.text)
    for content in (b"[" * 100_000, b'{"a":' * 50_000, b"1" * 100_000, b"\xff\xfe", b'{"file": "\\ud800"}'):
        answer = api.post("/api/v1/images/open", content=content, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500
    for number in range(200):
        content = rng.bytes(int(rng.integers(0, 5000)))
        kind = ["multipart/form-data; boundary=x", "multipart/form-data", "application/json", "text/plain", ""][
            number % 5
        ]
        answer = api.post("/api/v1/images", content=b"--x\r\n" + content, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.slow
def test_what_the_documentation_allows_and_what_it_does_not(api: httpx.Client) -> None:
    """schemathesis: requests made from the OpenAPI document."""
    schemathesis = pytest.importorskip("schemathesis", reason="of the extra dev")
    from hypothesis import HealthCheck, Phase, given, settings

    schema = schemathesis.openapi.from_dict(api.get("/openapi.json").json())
    seen = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(
            max_examples=30,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        def check(case: object) -> None:
            nonlocal seen
            seen += 1
            answer = case.call(base_url=str(api.base_url), headers=HEADERS)  # type: ignore[attr-defined]
            assert answer.status_code < 500, answer.text

        check()
    assert seen > 300
