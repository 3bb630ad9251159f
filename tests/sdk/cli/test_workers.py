"""Parts of a folder and processes that share it: together what one run makes, byte for byte."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from medsam_edge import InputError
from medsam_edge.cli import workers
from medsam_edge.cli.main import main
from medsam_edge.cli.workers import crew_of, free_bytes, part_of, usable_cores
from tests.sdk.tiny_bundle import SIZE, write_tiny_bundle


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bundle`, and seven images with boxes in `in` and `boxes`; a.png has none."""
    root = tmp_path_factory.mktemp("many")
    write_tiny_bundle(root / "bundle")
    for folder in ("in", "boxes"):
        (root / folder).mkdir()
    random = np.random.default_rng(0)
    for name in "abcdefg":
        cv2.imwrite(str(root / "in" / f"{name}.png"), random.integers(0, 255, (SIZE, SIZE), dtype=np.uint8))
        (root / "boxes" / f"{name}.json").write_text("[[8, 16, 24, 20], [2, 2, 60, 40]]")
    (root / "boxes" / "a.json").unlink()
    return root


def command(root: Path, output: str, *options: str) -> list[str]:
    folders = [str(root / "in"), "--boxes", str(root / "boxes"), "-o", str(root / output)]
    return ["segment", *folders, "--bundle", str(root / "bundle"), "--threads", "1", *options]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


@pytest.fixture(scope="module")
def expected(root: Path) -> dict[str, bytes]:
    assert main(command(root, "whole")) == 1  # a.png has no boxes
    assert sorted(contents(root / "whole")) == ["b.png", "c.png", "d.png", "e.png", "f.png", "g.png"]
    return contents(root / "whole")


def test_parts_are_disjoint_and_together_the_whole() -> None:
    assert [part_of("abcdefg", f"{number}/3") for number in (1, 2, 3)] == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert part_of("ab", "3/3") == []
    assert part_of("ab", None) == part_of("ab", "1/1") == ["a", "b"]


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "1/0", "-1/3", "1/3/3", "a/b", "1.0/3", "", "¹/3"])
def test_what_is_no_part_is_refused(part: str) -> None:
    with pytest.raises(InputError, match=r"--part: expected I/N with I from 1 to N, as 2/8, got"):
        part_of("abc", part)


def test_parts_together_equal_one_run(
    root: Path, expected: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    done = []
    for part, code in (("1/3", 1), ("2/3", 0), ("3/3", 0)):
        capsys.readouterr()
        assert main(command(root, "parts", "--json", "--part", part)) == code
        *images, total = map(json.loads, capsys.readouterr().out.splitlines())
        assert total["done"] + total["failed"] == len(images)
        done += [Path(image["image"]).name for image in images]
    assert sorted(done) == [f"{name}.png" for name in "abcdefg"]
    assert contents(root / "parts") == expected


def test_a_part_without_images_is_done(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(root, "none", "--json", "--part", "8/8")) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 0


def test_processes_give_the_same_files_and_name_the_bad_image(
    root: Path, expected: dict[str, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(command(root, "processes", "--json", "--workers", "2")) == 1
    printed = capfd.readouterr()
    *images, total = map(json.loads, printed.out.splitlines())
    assert {name: total[name] for name in ("done", "skipped", "failed")} == {"done": 6, "skipped": 0, "failed": 1}
    assert [Path(image["image"]).name for image in images if "error" in image] == ["a.png"]
    assert "medsam-edge: error: a.png: boxes: expected" in printed.err
    assert contents(root / "processes") == expected
    assert main(command(root, "processes", "--json", "--workers", "2")) == 1
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["skipped"] == 6


KILLED = """
import os, signal
from medsam_edge.cli import workers

def kill(segmenter, item):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_lost_process_ends_the_command_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    monkeypatch.syspath_prepend(tmp_path)
    write_tiny_bundle(tmp_path / "bundle")
    import killed  # type: ignore[import-not-found]

    options = argparse.Namespace(workers="2", threads=1, bundle=tmp_path / "bundle", device="CPU", cache_dir=None)
    with pytest.raises(workers.MedsamEdgeError, match=r"one of 2 processes was lost.*The same command goes on"):
        list(crew_of(options).map(killed.kill, [1, 2, 3], None))  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_no_process_outlives_a_killed_command(root: Path) -> None:
    """The workers hold the command's error stream: it ends when the last of them has."""
    run = subprocess.Popen(
        [sys.executable, "-m", "medsam_edge", *command(root, "orphans", "--workers", "2")], stderr=subprocess.PIPE
    )
    assert run.stderr is not None
    run.stderr.readline()  # a worker has begun an image
    run.kill()
    run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "", "10000"])
def test_what_is_no_number_of_workers_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--workers: expected auto or a number from 1 to 9999, got"):
        crew_of(argparse.Namespace(workers=text, threads=None))


@pytest.mark.parametrize(
    ("text", "threads", "cores", "free", "expected"),
    [
        ("auto", None, 8, 64 << 30, (8, 1)),
        ("auto", 2, 8, 64 << 30, (4, 2)),
        ("auto", None, 8, 3 << 30, (3, 1)),
        ("auto", None, 8, 0, (1, 1)),
        ("auto", 16, 8, None, (1, 16)),
        ("auto", None, 8, None, (8, 1)),
        ("1", None, 8, 0, (1, None)),
        ("1", 4, 8, 0, (1, 4)),
        ("3", None, 8, 0, (3, 2)),
        ("16", None, 8, 0, (16, 1)),
        ("3", 4, 8, 0, (3, 4)),
    ],
)
def test_workers_by_cores_and_memory(
    monkeypatch: pytest.MonkeyPatch, text: str, threads: int | None, cores: int, free: int | None, expected: Any
) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: cores)
    monkeypatch.setattr(workers, "free_bytes", lambda: free)
    crew = crew_of(argparse.Namespace(workers=text, threads=threads))
    assert (crew.workers, crew.threads) == expected


def test_a_container_bounds_cores_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert usable_cores() == 6
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert usable_cores() == 2
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores() == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores() == 6
    if free_bytes() is not None:
        (tmp_path / "memory.max").write_text(f"{10 << 20}\n")
        (tmp_path / "memory.current").write_text(f"{9 << 20}\n")
        (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {2 << 20}\n")
        assert free_bytes() == 3 << 20


def test_parts_and_workers_are_for_folders(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["segment", str(root / "in" / "b.png"), "--box", "1,2,30,40", "-o", str(root / "one.png")]
    for options in (["--part", "1/2"], ["--workers", "2"]):
        assert main([*one, *options]) == 2
        assert "--part, --workers: are for folders, got one image" in capsys.readouterr().err
