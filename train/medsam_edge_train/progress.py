"""How far long work has come, on stderr: a bar on a terminal, at most ten plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def show_progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """A function to call `total` times, with a name, as each part of the work begins or is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn(title), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    text, hidden = TextColumn("{task.description}", markup=False), not console.is_terminal
    with Progress(*columns, text, console=console, transient=True, refresh_per_second=2, disable=hidden) as bar:
        task = bar.add_task("", total=total)
        begun = 0

        def step(what: str) -> None:
            nonlocal begun
            begun += 1
            bar.update(task, completed=begun, description=what)
            if hidden and begun * 10 // total > (begun - 1) * 10 // total:
                print(f"{title}: {begun} of {total} {what}".rstrip(), file=sys.stderr, flush=True)

        yield step


def track(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """The same items, each counted when its turn comes."""
    with show_progress(title, total) as step:
        for item in items:
            step("")
            yield item
