"""The page's files: what a browser gets, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import SimpleITK as sitk

from medsam_edge.phantom import phantom, phantom_volume
from medsam_edge.server.app import STATIC

MAXIMUM_LINES = 350
OWN = [
    path for path in sorted(STATIC.rglob("*")) if path.suffix in (".js", ".css", ".html") and "vendor" not in path.parts
]


def name(path: Path) -> str:
    return path.relative_to(STATIC).as_posix()


@pytest.mark.parametrize("path", OWN, ids=name)
def test_a_file_is_short_and_loads_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAXIMUM_LINES
    assert re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text) == []


def test_the_policy_of_the_server_suits_the_page() -> None:
    """No script and no style in the HTML, which the server's Content-Security-Policy forbids."""
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|style=|\son[a-z]+=|<script(?![^>]*src=)", text)


@pytest.mark.parametrize("path", sorted(STATIC.rglob("*.js")), ids=name)
def test_what_a_module_imports_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for other in re.findall(r'(?:from|^import)\s*"([^"]+)"', text, re.M):
        assert (path.parent / other).resolve().is_file(), other


def test_every_icon_is_drawn() -> None:
    html = (STATIC / "index.html").read_text(encoding="utf-8")
    drawn = set(re.findall(r'<symbol id="i-([a-z]+)"', html))
    used = set(re.findall(r'href="#i-([a-z]+)"', html))
    for path in OWN:
        text = path.read_text(encoding="utf-8")
        used |= set(re.findall(r'[iI]con(?:Button)?\("([a-z]+)"', text)) | set(re.findall(r'href="#i-([a-z]+)"', text))
    assert used <= drawn


def test_vendored_code_has_its_licence() -> None:
    assert "BSD 3-Clause License" in (STATIC / "vendor" / "lit-html" / "LICENSE").read_text(encoding="utf-8")


def test_the_examples_are_phantoms() -> None:
    """`phantom("US")`, and `phantom_volume("CT", (32, 112, 112), seed=3, objects=3)` with its spacing."""
    picture = cv2.imread(str(STATIC / "examples" / "ultrasound.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(picture, phantom("US").image)
    volume = sitk.ReadImage(str(STATIC / "examples" / "ct.nii.gz"))
    drawn = phantom_volume("CT", (32, 112, 112), seed=3, objects=3)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(volume), drawn.image)
    assert volume.GetSpacing() == pytest.approx(drawn.spacing_mm[::-1])


def test_files_need_no_token_and_are_asked_for_anew(url: str) -> None:
    for path, kind in (("/", "text/html"), ("/static/js/app.js", "javascript"), ("/static/examples/ct.nii.gz", "")):
        answer = httpx.get(f"{url}{path}")
        assert answer.status_code == 200 and kind in answer.headers["content-type"]
        assert answer.headers["cache-control"] == "no-cache"
        again = httpx.get(f"{url}{path}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == (304 if path != "/" else 200)
    assert httpx.get(f"{url}/static/../app.py").status_code in (401, 404)
