"""What a job has done so far, as lines of JSON in its output folder: one file for each worker, which alone writes it.

A line says that an image is begun, or what came of it. Each is written by one opening of the file, so other machines
of a shared file system see it; a line that a lost worker has not ended is no line.
"""

from __future__ import annotations

import json
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

FOLDER = ".medsam-edge"
"""In the output folder."""


class Journal:
    """A worker's own. `run` is the same for all workers of a run, and later runs sort later."""

    def __init__(self, output: Path, run: str) -> None:
        self.file = output / FOLDER / f"{run}-{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}.jsonl"

    def begin(self, key: str) -> None:
        self._write({"begun": key})

    def end(self, key: str, report: dict[str, Any]) -> None:
        self._write({"ended": key, "report": report})

    def _write(self, line: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def ended(output: Path, run: str = "") -> dict[str, dict[str, Any]]:
    """The last report on each image, by its key; of one run, or of all."""
    return {line["ended"]: line["report"] for line in _lines(output, run) if "ended" in line}


def lost(output: Path, run: str) -> Counter[str]:
    """How often each image was begun in a run and not ended."""
    counts: Counter[str] = Counter()
    for line in _lines(output, run):
        counts[line.get("begun") or line["ended"]] += 1 if "begun" in line else -1
    return +counts


def _lines(output: Path, run: str) -> Iterator[dict[str, Any]]:
    for file in sorted((output / FOLDER).glob(f"{run}*.jsonl")):
        for text in file.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # of a worker that was lost in the middle of it
                continue
            if isinstance(line, dict) and line.keys() & {"begun", "ended"}:
                yield line
