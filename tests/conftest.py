from __future__ import annotations

import pytest

from medsam_edge.inference import propagation


@pytest.fixture
def no_narrowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A box bounds all its slices alike, so that the masks of the fakes can be worked out by hand."""
    monkeypatch.setattr(propagation, "NARROWING", 0.0)
