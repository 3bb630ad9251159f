"""Box prompts on the command line: the text of --box, and .json or .csv files."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medsam_edge.errors import BoxError, InputError

BOX_SUFFIXES = (".json", ".csv")


def boxes_of(texts: Sequence[str], file: Path | None) -> npt.NDArray[np.float64] | None:
    """Return (N, 4) or (N, 6) boxes, first those of --box, then those of the file; None if neither is given.

    Raises:
        BoxError: the file is unreadable, or the rows differ in length.
        InputError: a --box is not four or six numbers.
    """
    rows = [numbers("--box", text, 4, 6) for text in texts]
    if file is not None:
        rows += read_boxes(file)
    elif not rows:
        return None
    columns = len(rows[0]) if rows else 4
    for number, row in enumerate(rows):
        if len(row) != columns:
            raise BoxError(f"boxes: expected {columns} numbers, as in the first box, box {number} has {len(row)}")
    return np.asarray(rows, dtype=np.float64).reshape(-1, columns)


def read_boxes(path: Path) -> list[list[float]]:
    """Read rows of four or six numbers from .json ([[…], …]) or from CSV, with or without a header.

    Raises:
        BoxError: the file is unreadable, or has other rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some programs write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise BoxError(f"--boxes: cannot read {path}: {error}") from error
    try:
        rows = json.loads(text) if path.suffix.lower() == ".json" else _csv_rows(text)
        values = [[float(value) for value in row] for row in rows]
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BoxError(f"--boxes: expected rows of four or six numbers in {path}: {error}") from error
    for number, row in enumerate(values):
        if len(row) not in (4, 6):
            raise BoxError(f"--boxes: expected four or six numbers a row in {path}, row {number} has {len(row)}")
    return values


def numbers(option: str, text: str, *counts: int) -> list[float]:
    """Parse an option's numbers; InputError unless there are as many as one of `counts`."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in counts:
        expected = " or ".join(map(str, counts))
        raise InputError(f"{option}: expected {expected} numbers separated by commas, got {text!r}")
    return found


def _csv_rows(text: str) -> list[list[str]]:
    """Return the rows of a CSV without its header line, if any."""
    rows = [row for row in csv.reader(text.splitlines()) if row]
    words = {cell.strip().lower() for cell in rows[0] if cell.strip().isidentifier()} if rows else set()
    has_header = bool(words - {"nan", "inf", "infinity"})
    return rows[1:] if has_header else rows
