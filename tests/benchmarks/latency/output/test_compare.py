from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from medsam_edge.cli.main import main
from medsam_edge_benchmarks.latency.runs.figures import SCHEMA


def stages(**seconds: float) -> dict[str, Any]:
    return {
        "stages": {name: {"p50": value} for name, value in seconds.items()},
        "scaled_from": None,
    }


def result() -> dict[str, Any]:
    variants = {
        "medsam-edge": stages(total=1.0, encode=0.6, decode=0.39, write=0.01),
        "lite_medsam": stages(total=10.0),
        "rep_medsam": stages(total=5.0),
        "rep_medsam, fused": stages(total=4.0),
    }
    settings = {"threads": 2, "baseline_slices": 6, "baseline_boxes": 4}
    return {
        "schema": SCHEMA,
        "settings": settings,
        "machine": {"processor": "one"},
        "cases": [{"case": {"name": "US_0525"}, "variants": variants}],
        "cold_start": {},
    }


def own(run: dict[str, Any], stage: str, variant: str = "medsam-edge") -> dict[str, float]:
    found: dict[str, float] = run["cases"][0]["variants"][variant]["stages"][stage]
    return found


def compared(tmp_path: Path, after: dict[str, Any], *options: str, before: dict[str, Any] | None = None) -> int:
    for name, run in (("a", before or result()), ("b", after)):
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    return main(["bench", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), *options])


def test_the_same_run_is_no_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(tmp_path, result()) == 0
    assert "slower" not in capsys.readouterr().out


def test_a_slow_hour_cancels(tmp_path: Path) -> None:
    after = result()
    for variant in after["cases"][0]["variants"].values():
        for spread in variant["stages"].values():
            spread["p50"] *= 2
    assert compared(tmp_path, after) == 0


def test_a_fast_hour_hides_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    after = result()
    for variant, factor in (("lite_medsam", 0.5), ("rep_medsam", 0.5), ("rep_medsam, fused", 0.1)):
        own(after, "total", variant)["p50"] *= factor
    report = tmp_path / "changes.json"
    assert compared(tmp_path, after, "--json", str(report)) == 1
    assert "3 figures slower by more than 10%; the worst is total of US_0525, 2.00 times" in capsys.readouterr().err
    changes = json.loads(report.read_text(encoding="utf-8"))["changes"]
    assert [change["stage"] for change in changes if change["regressed"]] == ["total", "encode", "decode"]
    assert {change["drift"] for change in changes} == {0.5}
    assert not list(tmp_path.glob(".*"))


def test_one_stage_and_the_tolerance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    after = result()
    own(after, "encode")["p50"] = 0.69
    assert compared(tmp_path, after) == 1
    assert "encode of US_0525, 1.15 times" in capsys.readouterr().err
    assert compared(tmp_path, after, "--tolerance", "20") == 0
    assert compared(tmp_path, after, "--tolerance", "-1") == 2


def test_a_stage_too_small_to_matter_is_shown_and_not_judged(tmp_path: Path) -> None:
    after = result()
    own(after, "write")["p50"] = 0.015
    assert compared(tmp_path, after) == 0
    own(after, "write")["p50"] = 0.05  # five in a hundred of the total by now
    assert compared(tmp_path, after) == 1


def test_without_baselines_times_are_compared_as_they_are(tmp_path: Path) -> None:
    before, after = result(), result()
    for run in (before, after):
        run["cases"][0]["variants"] = {"medsam-edge": run["cases"][0]["variants"]["medsam-edge"]}
    own(after, "total")["p50"] = 1.2
    assert compared(tmp_path, after, before=before) == 1


def test_cold_starts_are_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = result()
    before["cold_start"] = {"medsam-edge, warm cache": stages(total=1.0), "lite_medsam": stages(total=9.0)}
    after = copy.deepcopy(before)
    after["cold_start"]["medsam-edge, warm cache"]["stages"]["total"]["p50"] = 1.3
    assert compared(tmp_path, after, before=before) == 1
    assert "total of cold start, 1.30 times" in capsys.readouterr().err


def test_what_differs_besides_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    after = result()
    after["settings"]["threads"] = 4
    after["machine"]["processor"] = "two"
    after["cases"].append({"case": {"name": "CT_0566"}, "variants": {}})
    own_figures = after["cases"][0]["variants"]["lite_medsam"]
    own_figures["scaled_from"] = "2 of 4 boxes"
    assert compared(tmp_path, after) == 0
    printed = capsys.readouterr().out
    for expected in ("threads differs: 2 and 4", "processor differs: one and two", "CT_0566 is in one", "scaled up"):
        assert expected in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "medsam-edge bench latency 0"}, "expected schema"),
        ({"cases": []}, "no case is in both: US_0525; none"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    assert compared(tmp_path, {**result(), **change}) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("text", ["[]", "{", "{}", json.dumps({"schema": SCHEMA})])
def test_files_of_something_else_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert main(["bench", "compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert main(["bench", "compare", str(tmp_path / "none.json"), str(tmp_path / "a.json")]) == 2
