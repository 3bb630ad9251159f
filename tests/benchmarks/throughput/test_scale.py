from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from medsam_edge.cli.main import main
from medsam_edge_benchmarks.throughput.scale import read_rates

MEGABYTE = 1 << 20
MEASURED: dict[str, Any] = {
    "image_bytes": 90_000.0,
    "label_bytes": 10_000.0,
    "variants": [
        {
            "kind": "processes",
            "workers": 1,
            "threads": 1,
            "images_per_s": 10.0,
            "core_s": 0.1,
            "memory_bytes": 600 * MEGABYTE,
        },
        {"kind": "processes", "workers": 1, "threads": 4, "images_per_s": 30.0, "core_s": 0.13, "memory_bytes": 1},
        {
            "kind": "processes",
            "workers": 4,
            "threads": 1,
            "images_per_s": 32.0,
            "core_s": 0.125,
            "memory_bytes": 1500 * MEGABYTE,
        },
        {"kind": "ray", "workers": 4, "threads": 1, "images_per_s": 99.0, "core_s": 9.0, "memory_bytes": 1},
    ],
}


def write(path: Path, found: object) -> Path:
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def test_rates_are_those_of_processes_with_one_thread(tmp_path: Path) -> None:
    rates = read_rates(write(tmp_path / "rates.json", MEASURED))
    assert rates.image_s == 0.125
    assert rates.image_bytes == 100_000
    assert rates.worker_bytes == 300 * MEGABYTE


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """8 nodes of 16 cores at 0.125 s an image do 1024 images a second; the store does 10,000."""
    file = write(tmp_path / "rates.json", MEASURED)
    told = ["--images", "102400", "--nodes", "8", "80", "--lost-per-day", "0"]
    assert main(["bench", "scale", "--rates", str(file), *told, "--json", str(tmp_path / "out.json")]) == 0
    few, many = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["jobs"]
    assert (few["limit"], many["limit"]) == ("processors", "store")
    assert few["hours"] * 3600 == pytest.approx(102400 * (0.125 + 0.0001) / 128)
    assert few["core_hours"] == pytest.approx(few["hours"] * 128)
    assert many["hours"] * 3600 == pytest.approx(10.24)
    assert [job["simulated_over_closed"] for job in (few, many)] == pytest.approx([1, 1], abs=0.06)
    printed = capsys.readouterr().out
    assert "102,400" in printed
    assert "4 workers on the machine that was measured: 32.00 images/s, simulated 3" in printed


@pytest.mark.parametrize("found", [{}, [], {**MEASURED, "variants": [{}]}, {**MEASURED, "image_bytes": "many"}])
def test_what_are_no_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str], found: object) -> None:
    assert main(["bench", "scale", "--rates", str(write(tmp_path / "rates.json", found))]) == 2
    assert "--rates: expected what `bench throughput --json` writes" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_an_image_that_takes_no_time_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: float
) -> None:
    """As of a run that was over before anything was looked at; with NaN the simulation would never end."""
    found = {**MEASURED, "variants": [{**MEASURED["variants"][0], "core_s": seconds}]}
    assert main(["bench", "scale", "--rates", str(write(tmp_path / "rates.json", found))]) == 2
    assert "--rates: expected rates, seconds and bytes above 0" in capsys.readouterr().err


def test_no_processes_and_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "rates.json", {**MEASURED, "variants": MEASURED["variants"][1:2]})
    assert main(["bench", "scale", "--rates", str(file)]) == 2
    assert "--rates: expected processes of one thread" in capsys.readouterr().err
    assert main(["bench", "scale", "--rates", str(tmp_path / "none")]) == 2
    assert "no such file" in capsys.readouterr().err
