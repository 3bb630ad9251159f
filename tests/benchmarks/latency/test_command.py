from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from medsam_edge.cli.main import main
from medsam_edge.errors import InputError, MedsamEdgeError
from medsam_edge.modality import Modality
from medsam_edge_benchmarks.latency.cases import cases
from medsam_edge_benchmarks.latency.cases.cases import DrawnCase, LatencyCase, PaperSeconds, draw
from medsam_edge_benchmarks.latency.runs import fresh, roofline, run
from medsam_edge_benchmarks.latency.runs.fresh import EMPTY, WARM, Request, cold_starts, run_fresh
from medsam_edge_benchmarks.latency.runs.run import QUICK, LatencyPlan, steps
from medsam_edge_benchmarks.latency.variants import BASELINE, BASELINES, OURS, STAGES, Run
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO, build
from tests.train.tiny import tiny

SMALL = (
    LatencyCase("MR_0179", Modality.MR, (8, 64, 72), 1, PaperSeconds(4, 2, 1)),
    LatencyCase("US_0525", Modality.US, (64, 64), 1, PaperSeconds(4, 2, 1)),
    LatencyCase("X-Ray_0053", Modality.XRAY, (64, 128), 3, PaperSeconds(4, 2, 1, 0.5)),
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Request]]:
    """Small cases, tiny networks, a glance at the machine, and no process but this one; gives what asked for one."""
    asked: list[Request] = []

    def here(request: Request, drawn: DrawnCase, output: Path) -> tuple[Run, float]:
        asked.append(request)
        return Run({"import": 1.0, "load": 2.0, "first mask": 3.0}, 6.0), 100.0

    for name in ("lite_medsam", "rep_medsam"):
        monkeypatch.setitem(ZOO, name, tiny)
    drawn_small = {case.name: case for case in SMALL}
    monkeypatch.setattr(cases, "CASES", tuple(drawn_small.get(case.name, case) for case in cases.CASES))
    monkeypatch.setattr(fresh, "run_fresh", here)
    monkeypatch.setattr(run, "run_fresh", here)
    monkeypatch.setattr(roofline, "REPEATS", 1)
    monkeypatch.setattr(roofline, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(roofline, "measure_roofline", partial(roofline.measure_roofline, size=64))
    threads = torch.get_num_threads()
    yield asked
    torch.set_num_threads(threads)


def test_the_command_writes_every_output(
    tmp_path: Path, small: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    files = [f"{option}={tmp_path / name}" for option, name in (("--json", "a"), ("--csv", "b"), ("--html", "c"))]
    chosen = ["--cases", "US_0525", "X-Ray_0053", "--rounds", "2", "--threads", "1", "--baseline-boxes", "1"]
    assert main(["bench", "latency", *chosen, *files]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "a").read_text(encoding="utf-8"))
    assert report["complete"]
    assert [own["case"]["name"] for own in report["cases"]] == ["US_0525", "X-Ray_0053"]
    for own in report["cases"]:
        assert list(own["variants"]) == [OURS, *BASELINES]
        for figures in own["variants"].values():
            assert set(figures["stages"]) == {"total", *STAGES}
            assert figures["rounds"] == 2
            assert figures["stages"]["encode"]["p50"] > 0  # no embedding is kept from one round to the next
            assert figures["peak_mb"] == 100.0
    scaled = report["cases"][1]["variants"][BASELINE]
    assert scaled["scaled_from"] == "1 of 3 boxes"
    assert set(report["cold_start"]) == {EMPTY, WARM, *BASELINES}
    assert report["cold_start"][WARM]["stages"]["total"]["p50"] == 6.0
    assert report["machine"]["threads"].startswith("1 ")
    assert "INFERENCE_NUM_THREADS 1" in report["machine"]["encoder"]
    _check_csv(tmp_path / "b")
    _check_page((tmp_path / "c").read_text(encoding="utf-8"))
    for expected in (
        "random weights",
        "≈ X-Ray_0053: from 1 of 3 boxes (lite_medsam / rep_medsam / rep_medsam, fused)",
        "papers: ",
    ):
        assert expected in printed
    assert not list(tmp_path.glob(".*"))
    assert main(["bench", "compare", str(tmp_path / "a"), str(tmp_path / "a")]) == 0


def _check_csv(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["case"], row["variant"], row["quantity"]): row for row in rows}
    assert len(found) == len(rows)
    total = found["X-Ray_0053", BASELINE, "total"]
    assert (total["scaled"], total["scaled_from"], total["unit"]) == ("True", "1 of 3 boxes", "s")
    assert found["X-Ray_0053", BASELINE, "read"]["scaled"] == "False"
    ours = found["X-Ray_0053", OURS, "total"]
    assert (ours["scaled"], ours["ratio_scaled"]) == ("False", "True")
    assert found["US_0525", OURS, "total"]["ratio_scaled"] == "False"
    assert found["cold start", WARM, "load"]["p50"] == "2.0"
    own, base = found["US_0525", OURS, "total"], found["US_0525", BASELINE, "total"]
    assert float(own["ratio_to_baseline"]) == pytest.approx(float(base["p50"]) / float(own["p50"]))


def _check_page(page: str) -> None:
    sources = re.findall(r"src='([^']*)'", page)
    assert len(sources) == 5
    for source in sources:
        kind, data = source.split(",", 1)
        assert kind == "data:image/svg+xml;base64"
        assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")  # noqa: S314  our own
    assert "http" not in re.sub(r"src='[^']*'", "", page)
    for expected in ("≈ ", "title='scaled up by count from 1 of 3 boxes'", "machine of our own", "random weights"):
        assert expected in page


def test_an_interrupted_run_keeps_whole_cases(
    tmp_path: Path, small: list[Request], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = run._measure_case

    def interrupted(case: LatencyCase, *rest: Any) -> Any:
        if case.name == "X-Ray_0053":
            raise KeyboardInterrupt
        return measured(case, *rest)

    monkeypatch.setattr(run, "_measure_case", interrupted)
    out = tmp_path / "a.json"
    page = tmp_path / "a.html"
    short = ["--quick", "--threads", "1", "--rounds", "1"]
    assert main(["bench", "latency", *short, "--json", str(out), "--html", str(page)]) == 130
    assert "Interrupted" in page.read_text(encoding="utf-8")
    report = json.loads(out.read_text(encoding="utf-8"))
    assert [own["case"]["name"] for own in report["cases"]] == ["MR_0179", "US_0525"]
    assert not report["complete"]
    assert not small  # the quick look starts no process for a case
    printed = capsys.readouterr().out
    assert "Interrupted" in printed
    assert "A quick look" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.json"]


def test_steps_are_counted(tmp_path: Path, small: list[Request]) -> None:
    for plan in (LatencyPlan(("US_0525",), rounds=2, threads=1), LatencyPlan(("US_0525",), 1, 2, False, threads=1)):
        seen: list[str] = []
        run.measure_latency(plan, tmp_path, seen.append, lambda report: None)
        assert len(seen) == steps(plan)


@pytest.mark.parametrize(("cores", "said"), [(2, False), (4, True)])
def test_spare_cores_are_told_of(monkeypatch: pytest.MonkeyPatch, cores: int, said: bool) -> None:
    monkeypatch.setattr(run.os, "sched_getaffinity", lambda _: range(cores), raising=False)
    assert any(f"{cores} were free to it" in note for note in run._notes(LatencyPlan(threads=2))) is said


def test_bad_options_are_refused(tmp_path: Path) -> None:
    assert main(["bench", "latency", "--rounds", "0"]) == 2
    assert main(["bench", "latency", "--baseline-boxes", "-1"]) == 2
    assert main(["bench", "latency", "--cases", "nothing"]) == 2
    with pytest.raises(InputError, match="threads"):
        LatencyPlan(threads=0)
    assert main(["bench", "latency", "--cases"]) == 2
    assert not LatencyPlan().quick
    assert LatencyPlan(**QUICK).rounds < LatencyPlan().rounds


@pytest.fixture
def drawn(tmp_path: Path) -> DrawnCase:
    return draw(SMALL[1], tmp_path)


def test_cold_starts_take_turns(tmp_path: Path, drawn: DrawnCase, small: list[Request]) -> None:
    requests = {OURS: Request(1), BASELINE: Request(1, checkpoint="weights")}
    runs, peaks = cold_starts(requests, drawn, 2, tmp_path, lambda what: None)
    assert {name: len(own) for name, own in runs.items()} == {EMPTY: 2, WARM: 2, BASELINE: 2}
    assert peaks == {EMPTY: 100.0, WARM: 100.0, BASELINE: 100.0}
    filled, *turns = small
    assert [request.checkpoint for request in turns] == [None, None, "weights"] * 2
    warm, empty = {turn.cache_dir for turn in turns[1::3]}, {turn.cache_dir for turn in turns[::3]}
    assert warm == {filled.cache_dir}
    assert len(empty) == 2
    assert not warm & empty


def test_a_process_of_its_own_runs_ours(tmp_path: Path, drawn: DrawnCase) -> None:
    measured, peak = run_fresh(Request(1, cache_dir=str(tmp_path / "cache")), drawn, tmp_path / "segs.npz")
    assert list(measured.seconds) == ["import", "load", "first mask"]
    assert measured.total == pytest.approx(sum(measured.seconds.values()))
    assert (tmp_path / "segs.npz").is_file()
    assert list((tmp_path / "cache").glob("*.blob"))
    assert peak is None or 50 < peak < 2000


def test_a_process_of_its_own_runs_a_published_network(tmp_path: Path, drawn: DrawnCase) -> None:
    path = tmp_path / "small.safetensors"  # the same blocks as the published network's, a tenth of the work
    checkpoint.write(path, build("rep_medsam_s"), "rep_medsam_s")
    request = Request(1, checkpoint=str(path), fuse=True)
    measured, _ = run_fresh(request, drawn, tmp_path / "segs.npz")
    assert min(measured.seconds.values()) > 0
    assert (tmp_path / "segs.npz").is_file()


def test_a_process_that_fails_says_why(tmp_path: Path, drawn: DrawnCase) -> None:
    with pytest.raises(MedsamEdgeError, match=r"US_0525 failed: .*BundleError: bundle: "):
        run_fresh(Request(1, bundle=str(tmp_path / "none")), drawn, tmp_path / "segs.npz")
