from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from medsam_edge_benchmarks.accuracy.output.text import show
from medsam_edge_benchmarks.accuracy.scoring.report import summarize
from tests.benchmarks.helpers import ROW


def test_names_with_brackets_are_names() -> None:
    """To rich a word in brackets is a style, which it does not show."""
    out = io.StringIO()
    rows = [replace(ROW, method="[net]", dataset="[old]")]
    settings = {"data": "[mine]", "by": "modality", "images of each modality": "all", "mosaic": 1}
    show(summarize(rows, settings, complete=True), Console(file=out, width=180))
    for name in ("[net]", "[net], here", "CT/[old]", "[mine]"):
        assert name in out.getvalue()
