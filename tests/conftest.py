from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from medsam_edge.inference import propagation


@pytest.fixture
def no_narrowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box bounds all its slices alike, so that the masks of the fakes can be worked out by hand."""
    monkeypatch.setattr(propagation, "NARROWING", 0.0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be missing, as in CI, a slow test that skips for a missing tool fails."""
    report = yield
    if report.skipped and "MEDSAM_EDGE_NO_SKIP" in os.environ and item.get_closest_marker("slow"):
        report.outcome, report.longrepr = "failed", f"skipped: {call.excinfo.value if call.excinfo else ''}"
    return report
