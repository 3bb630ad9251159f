"""The C++ library from other languages: the page's ctypes program gives the sdk's masks. Slow: `make cpp` builds it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medsam_edge import segment
from medsam_edge.networks.bundle import packaged_bundle
from medsam_edge.phantom import phantom

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "how-to" / "cpp.md"


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_the_smallest_program_of_the_page_is_the_one_that_is_built() -> None:
    assert block("cpp") == (ROOT / "sdk" / "cpp" / "examples" / "smallest.cpp").read_text(encoding="utf-8")


@pytest.mark.slow
def test_ctypes(tmp_path: Path) -> None:
    library = Path(os.environ.get("MEDSAM_EDGE_LIBRARY", ROOT / "build" / "cpp" / "libmedsam_edge.so")).resolve()
    if not library.is_file():
        pytest.skip(f"{library} is not built: make cpp")
    image = phantom("US").image
    np.save(tmp_path / "image.npy", image)
    (tmp_path / "program.py").write_text(block("python no-run"), encoding="utf-8")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    command = [sys.executable, "program.py", str(packaged_bundle()), "image.npy"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    expected = segment(image, [[70, 80, 170, 180]]).label_map
    assert expected.any()
    assert (np.load(tmp_path / "labels.npy") == expected).all()
