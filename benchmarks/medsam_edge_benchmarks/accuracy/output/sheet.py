"""Every row as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

from medsam_edge.writing.whole import replacing
from medsam_edge_benchmarks.accuracy.scoring.measure import Row

COLUMNS = tuple(field.name for field in fields(Row))


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """One line per object, method and jitter, in the order of `Row`; the file appears whole or not at all."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(astuple(row) for row in rows)
