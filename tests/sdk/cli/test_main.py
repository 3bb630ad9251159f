from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import NoReturn

import pytest

from medsam_edge.cli.main import guarded, main


@pytest.mark.parametrize("error", [MemoryError(), OSError("disk full")])
def test_memory_and_system_errors_are_one_line(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    def command(_: list[str]) -> int:
        raise error

    assert guarded(command, []) == 1
    assert capsys.readouterr().err == f"medsam-edge: error: {str(error) or 'MemoryError'}\n"


def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert main(["--version"]) == 0
    assert "medsam-edge" in capsys.readouterr().out


@pytest.mark.parametrize("loads", [None, "import", "run"])
def test_commands_of_missing_extras_say_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, loads: str | None
) -> None:
    """The command is missing, its imports fail, or it lacks a package when it runs."""

    def fail(*_: object) -> NoReturn:
        raise ModuleNotFoundError("No module named 'nncf'", name="nncf")

    entry = SimpleNamespace(load=fail if loads == "import" else lambda: fail)
    monkeypatch.setattr("medsam_edge.cli.main.entry_points", lambda **_: [entry] if loads else [])
    assert main(["bench", "encoder"]) == 2
    message = capsys.readouterr().err
    assert "medsam-edge[benchmarks]" in message
    assert ("nncf" in message) is bool(loads)


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medsam_edge", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("medsam-edge ")
