from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Generator, Iterator
from typing import cast

import pytest

from medsam_edge.inference import propagation


class Stack(ctypes.Structure):
    """Linux's `stack_t`."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def stack_of_signals() -> int | None:
    """Where the main thread's alternate stack for signals starts."""
    stack = Stack()
    if sys.platform == "linux":
        ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return cast("int | None", stack.start)


@pytest.fixture(autouse=True)
def same_stack_of_signals(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test changes it, which would end the process at a later signal; see
    `medsam_edge.networks.engine.off_main_thread`. Only Ray may, in slow tests: it keeps its own."""
    before = stack_of_signals()
    yield
    if not (request.node.get_closest_marker("slow") and "ray" in sys.modules):
        assert stack_of_signals() == before, "a model was compiled on the main thread"


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
