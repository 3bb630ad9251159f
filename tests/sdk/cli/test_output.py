from __future__ import annotations

import pytest

from medsam_edge.cli.output import slices_shown


def test_progress_is_one_line_that_is_wiped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with slices_shown() as progress:
        assert progress is None
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with slices_shown() as progress:
        assert progress is not None
        for done in (1, 2):
            progress(done, 2)
    assert capsys.readouterr().err == f"1 of 2 slices\r2 of 2 slices\r{' ' * 13}\r"
