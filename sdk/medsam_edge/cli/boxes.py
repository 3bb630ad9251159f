"""Box prompts as the command takes them: the text of --box, and .json or .csv files of rows."""

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
    """(N, 4) or (N, 6) boxes, first those of --box, then those of a file; None where neither is given.

    Raises:
        BoxError: an unreadable file, or rows of different lengths.
        InputError: a --box that is not four or six numbers.
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
    """Rows of four or six numbers from .json ([[…], …]) or from CSV, with or without a header.

    Raises:
        BoxError: unreadable, or other rows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some programs begin with a mark of byte order
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
    """The numbers of an option's text, as many as one of `counts`; InputError if not."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in counts:
        expected = " or ".join(map(str, counts))
        raise InputError(f"{option}: expected {expected} numbers separated by commas, got {text!r}")
    return found


def _csv_rows(text: str) -> list[list[str]]:
    """The rows of a CSV, without a header line if there is one."""
    rows = [row for row in csv.reader(text.splitlines()) if row]
    words = {cell.strip().lower() for cell in rows[0] if cell.strip().isidentifier()} if rows else set()
    has_header = bool(words - {"nan", "inf", "infinity"})
    return rows[1:] if has_header else rows
