from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medsam_edge.errors import InputError
from medsam_edge.networks.engine import EngineSettings


@pytest.mark.parametrize("number", [0, -1, 1025, 2**31, 2**40])
def test_thread_counts_that_no_machine_has_are_refused(number: int) -> None:
    with pytest.raises(InputError, match=f"num_threads: expected 1 to 1024 or None, got {number}"):
        EngineSettings(num_threads=number)


@pytest.mark.parametrize("name", ["a" * 300, "caf\udce9", "a\0b", "file/inside"])
def test_a_cache_that_cannot_be_used_is_left_out_with_a_warning(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cache_dir: compiled models are not kept in"):
        assert EngineSettings(cache_dir=tmp_path / name).with_usable_cache().cache_dir is None


@pytest.mark.parametrize("which", ["folder", "blob"])
def test_so_is_one_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    (tmp_path / "1.blob").write_bytes(b"")
    if os.geteuid():
        (tmp_path if which == "folder" else tmp_path / "1.blob").chmod(0)
    elif which == "blob":  # root may read anything
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    else:
        monkeypatch.setattr(
            Path, "iterdir", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
    with pytest.warns(UserWarning, match="cache_dir"):
        assert EngineSettings(cache_dir=tmp_path).with_usable_cache().cache_dir is None
    tmp_path.chmod(0o700)


def test_a_good_cache_is_made_and_kept(tmp_path: Path) -> None:
    settings = EngineSettings(cache_dir=tmp_path / "new" / "cache")
    assert settings.with_usable_cache() is settings
    assert (tmp_path / "new" / "cache").is_dir()
    assert not list((tmp_path / "new" / "cache").iterdir())


FIRST_CALLS = """
import faulthandler, threading, time
from collections import deque
from operator import methodcaller
import openvino
import medsam_edge.networks.engine

def call_after(wait, duration):
    deque(zip(map(wait, [duration]), map(methodcaller("to_dtype"), [openvino.Type.f32])))

faulthandler.dump_traceback_later(20, exit=True)
second = threading.Thread(target=call_after, args=(time.sleep, 0.02))
first = threading.Thread(target=call_after, args=(sum, range(5_000_000)))
second.start(), first.start(), second.join(), first.join()
"""
"""`second` wakes up while `first` sums without giving the interpreter's lock away, and waits for it. `first` calls
OpenVINO, where a first call takes a lock of C++ and then gives the interpreter's away; `second` takes that, and its own
call waits for the lock of C++. Neither runs a line of Python in between."""


def test_the_first_inferences_of_a_process_may_begin_at_once() -> None:
    """Without the engine's own call this program hangs, as two threads' first `infer` did now and then."""
    subprocess.run([sys.executable, "-c", FIRST_CALLS], check=True)
