"""What the suites share: the way to a JSON file, the terminal, and how far one has come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsam_edge.writing.whole import replacing

if TYPE_CHECKING:
    from rich.console import Console

Suites = Any
"""argparse's own type for sub-parsers has no public name."""


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a suite's result; the file appears whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def console() -> Console:
    """Standard output; wide where it is a file."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=180)


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, console=console, transient=True, refresh_per_second=2, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=total, completed=-1)

        def step(what: str) -> None:
            bar.update(task, advance=1, description=what)

        yield step
