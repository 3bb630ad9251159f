from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medsam_edge.writing.whole import replacing


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_threads_may_save_to_one_path(tmp_path: Path) -> None:
    """Both threads write half, wait for each other, and write the rest; the file holds the text of one of them."""
    path, both = tmp_path / "x.txt", threading.Barrier(2)

    def save(letter: str) -> None:
        with replacing(path) as partial, partial.open("w") as file:
            file.write(letter)
            file.flush()
            both.wait(10)
            file.write(letter)
            file.flush()
            both.wait(10)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save, "ab"))
    assert path.read_text(encoding="utf-8") in ("aa", "bb")
    assert [file.name for file in tmp_path.iterdir()] == ["x.txt"]
