from __future__ import annotations

import sys

import pytest

from medsam_edge_train.progress import show_progress, track


def test_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(40), "count", 40)) == list(range(40))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [f"count: {4 * part} of 40" for part in range(1, 11)]
    with show_progress("few", 2) as step:
        step("first")
        step("second")
    assert capsys.readouterr().err == "few: 1 of 2 first\nfew: 2 of 2 second\n"


def test_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show_progress("count", 3) as step:
        step("[one]")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "1/3" in printed.err
    assert "[one]" in printed.err
    assert "count: 1 of 3" not in printed.err
