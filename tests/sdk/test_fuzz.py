from __future__ import annotations

import subprocess
import sys

import pytest

from tests.sdk import fuzz as fuzzer


def test_hundreds_of_mutated_files_are_read_or_refused() -> None:
    report = fuzzer.fuzz(range(780), seed=20261122)  # 20 of each kind
    assert report.failures == {}
    assert sum(report.counts.values()) == 780
    assert {kind for _, kind in report.counts} == {"read", "refused"}


def test_the_fuzzer_reports_a_crash_and_a_hang_and_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    script = """import os, sys, time
for line in sys.stdin:
    os.abort() if line == "2\\n" else time.sleep(99) if line == "4\\n" else print('["x", "read"]', flush=True)"""

    def start(_: int) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True)

    monkeypatch.setattr(fuzzer, "_start", start)
    monkeypatch.setattr(fuzzer, "WALL_SECONDS", 0.5)
    report = fuzzer.fuzz(range(1, 6), seed=0)
    assert report.counts["x", "read"] == 3
    assert report.failures == {2: "?: BAD: crashes (-6)", 4: "?: BAD: hangs"}
