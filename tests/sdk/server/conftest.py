from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.limits import Limits
from medsam_edge.server.service import Service
from medsam_edge.server.warned import listen
from tests.sdk.fake import prompted_model
from tests.sdk.server.running import TOKEN, running

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
VOLUME = np.random.default_rng(1).integers(0, 100, (5, 64, 64)).astype(np.int16)
SPACING = (0.5, 0.75, 2.0)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A served folder: a picture, a volume, and a file that is no image; beside it, a picture that is not served."""
    found = tmp_path_factory.mktemp("served") / "images"
    (found / "more").mkdir(parents=True)
    assert cv2.imwrite(str(found / "picture.png"), PICTURE)
    volume = sitk.GetImageFromArray(VOLUME)
    volume.SetSpacing(SPACING)
    sitk.WriteImage(volume, str(found / "more" / "volume.nii.gz"))
    (found / "notes.txt").write_text("no image")
    (found / "bad.png").write_bytes(b"no png")
    assert cv2.imwrite(str(found.parent / "secret.png"), PICTURE)
    (found / "link.png").symlink_to(found.parent / "secret.png")
    return found


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def url(folder: Path, output: Path) -> Iterator[str]:
    service = Service(Segmenter(prompted_model()), Limits(), folder, output)
    with running(make_app(service, TOKEN)) as found:
        yield found


@pytest.fixture
def api(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
        yield client


@pytest.fixture
def listening() -> None:
    """Warnings of the sdk go to the client, not to pytest."""
    listen()


@pytest.fixture
def picture(api: httpx.Client) -> str:
    """The id of the served picture, opened."""
    opened = api.post("/images/open", json={"file": "picture.png"})
    assert opened.status_code == 201, opened.text
    key: str = opened.json()["id"]
    return key


@pytest.fixture
def volume(api: httpx.Client) -> str:
    """The id of the served volume, opened."""
    opened = api.post("/images/open", json={"file": "more/volume.nii.gz"})
    assert opened.status_code == 201, opened.text
    key: str = opened.json()["id"]
    return key


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
