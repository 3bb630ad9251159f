"""What the suites share: the setting that all have, the way to a JSON file, and the terminal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsam_edge.writing.whole import replacing

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class SuiteConfig:
    """What every suite can be told.

    Attributes:
        json: file to write the figures to.
    """

    json: Path | None = None


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a suite's result; the file appears whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def console() -> Console:
    """Standard output; wide where it is a file."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=180)
