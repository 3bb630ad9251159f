"""Rates from the times of lines, and a small folder that is really segmented, by a tiny bundle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medsam_edge.cli.main import main
from medsam_edge.cli.workers import crew_of
from medsam_edge.errors import MedsamEdgeError
from medsam_edge_benchmarks.throughput import command
from medsam_edge_benchmarks.throughput.command import ThroughputConfig
from medsam_edge_benchmarks.throughput.runs import Variant, Watched, draw_folder, measure, summarize, watching
from tests.sdk.tiny_bundle import write_tiny_bundle


def reports(count: int, boxes: int = 2) -> list[dict[str, Any]]:
    return [{"objects": [{}] * boxes, "timings_ms": {"read": 1.0 + number % 2}} for number in range(count)]


def test_the_rate_is_that_of_what_came_after_the_first_quarter() -> None:
    """Two images a second after a start of ten seconds."""
    watched = Watched(5, [0.0, 10.0, 20.0], [0.0, 10.0, 20.0])  # one core at work all the time
    found = summarize([10.0 + number / 2 for number in range(9)], reports(8), watched)
    assert found.images_per_s == pytest.approx(2.0)
    assert found.boxes_per_s == pytest.approx(4.0)
    assert found.core_s == pytest.approx(0.5)
    assert (found.start_s, found.memory_bytes) == (10.0, 5)
    assert found.stages_ms == {"read": 1.5}


def test_bursts_are_counted_once() -> None:
    """Batches of four a second: the one at the first quarter is where counting begins."""
    times = [float(second) + line / 1000 for second in range(4) for line in range(4)]
    assert summarize(times, reports(16), Watched()).images_per_s == pytest.approx(4.0, rel=0.01)


def test_too_few_images_cannot_be_counted() -> None:
    with pytest.raises(MedsamEdgeError, match="1 images are too few"):
        summarize([1.0], reports(1), Watched())


def test_variants_by_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "usable_cores", lambda: 4)
    assert list(map(str, ThroughputConfig(kinds=("processes",)).variants)) == [
        "1 × 4 processes",
        "2 × 2 processes",
        "4 × 1 processes",
    ]
    assert ThroughputConfig(workers=(3,), threads=1, kinds=("ray",)).variants == [Variant("ray", 3, 1)]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, rates = write_tiny_bundle(tmp_path / "bundle"), tmp_path / "rates.json"
    monkeypatch.setattr(command, "crew_of", lambda options: crew_of(options.__class__(workers="2", threads=1)))
    told = ["--images", "24", "--rounds", "1", "--workers", "1", "2", "--threads", "1", "--bundle", str(bundle)]
    plot = tmp_path / "plot.svg"
    assert main(["bench", "throughput", *told, "--json", str(rates), "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "on this machine: medsam-edge segment FOLDER --workers" in printed
    assert "--workers auto is 2 × 1, which has" in printed
    assert "it reckons with 1024 MB a worker; the most was" in printed
    found = json.loads(rates.read_text(encoding="utf-8"))
    named = [(item["kind"], item["workers"]) for item in found["variants"]]
    assert named == [("processes", 1), ("threads", 1), ("processes", 2), ("threads", 2)]
    assert all(item["images_per_s"] > 0 and item["memory_bytes"] > 1 << 20 for item in found["variants"])
    assert found["image_bytes"] > found["label_bytes"] > 0
    assert "<svg" in plot.read_text(encoding="utf-8")
    assert main(["bench", "scale", "--rates", str(rates), "--simulated", "5", "--nodes", "1"]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="others do not say what children took that have ended")
def test_what_took_less_than_half_a_second_is_counted() -> None:
    """A process and one that it waits for, which have ended when they are looked at."""
    spin = "import time\nwhile time.process_time() < 0.3: pass"
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {spin!r}])"
    with (
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent,
        watching(parent.pid, time.perf_counter()) as watched,
    ):
        assert parent.stdout is not None
        assert parent.stdout.read() == b""  # until both have ended
    assert watched.cores_s[-1] >= 0.2


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    images, boxes = draw_folder(tmp_path, 1)
    with pytest.raises(MedsamEdgeError, match=r"2 × 1 processes failed: .*bundle"):
        measure(Variant("processes", 2, 1), images, boxes, tmp_path / "out", ["--bundle", str(tmp_path / "none")])


def test_folders_come_with_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "throughput", "--data", "images"]) == 2
    assert "--data, --boxes: expected both or none" in capsys.readouterr().err
