from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medsam_edge.errors import ImageError
from medsam_edge.writing.labels import write_labels
from tests.sdk.writing.killed import WRITTEN, contents


@pytest.mark.parametrize("name", ["x" * 243 + ".nii.gz", "X" * 240 + ".Nii.Gz", "ж" * 120 + ".png"])
def test_the_longest_file_names_are_written(tmp_path: Path, name: str) -> None:
    write_labels(tmp_path / name, np.ones((4, 5), np.uint16), None)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_killed_process_leaves_whole_files(tmp_path: Path) -> None:
    whole: dict[str, list[bytes]] = {}
    for name in WRITTEN:
        for labels in contents():
            write_labels(tmp_path / name, labels, None)
            whole.setdefault(name, []).append((tmp_path / name).read_bytes())
    code = "import sys, pathlib, tests.sdk.writing.killed as k; k.write_and_be_killed(pathlib.Path(sys.argv[1]), 40)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() in whole[name]
    others = {file.name for file in tmp_path.iterdir()} - set(WRITTEN)
    assert all(re.fullmatch(r"\.\d+\.[0-9a-f]{8}\.partial\.labels\.(png|npz|nii\.gz|mha)", name) for name in others)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.npz", "x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, name: str) -> None:
    """A limit on the file size stands for the full disk: the write fails in the same place."""
    labels = np.random.default_rng(5).integers(0, 60000, (100, 100)).astype(np.uint16)
    (tmp_path / name).write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(ImageError, match=rf"output: cannot write .*{name}: ."):
            write_labels(tmp_path / name, labels, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [(name, "old")]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no file has such a name")
def test_a_medical_path_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """ITK ends the process at such a path."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))
    folder.mkdir()
    with pytest.raises(ImageError, match=r"path: expected UTF-8, which is all that ITK opens, got '.*udce9/y.nrrd'"):
        write_labels(folder / "y.nrrd", np.zeros((4, 5), np.uint16), None)
    assert list(folder.iterdir()) == []
