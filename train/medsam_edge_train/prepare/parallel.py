"""Work in several processes: results come in order, and a crash inside a file reader costs one item only."""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from medsam_edge.cli.workers import end_with_parent
from medsam_edge.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # items per process that are in work or waiting


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int, lost: Result) -> Iterator[Result]:
    """`map` over processes of the start method "spawn", of picklable work. Errors that it raises are raised here.

    Args:
        workers: number of processes; 1 works in this process.
        lost: result of an item whose process died (out of memory, a crash in native code).

    Raises:
        InputError: no process can be started.
    """
    todo = deque(items)
    if workers == 1:
        yield from map(work, todo)
        return
    while todo:
        with _pool(workers) as pool:
            pending: deque[tuple[Item, Future[Result]]] = deque()
            try:
                while todo or pending:
                    while todo and len(pending) < AHEAD * workers:
                        pending.append((todo[0], pool.submit(work, todo[0])))
                        todo.popleft()
                    result = pending[0][1].result()
                    pending.popleft()
                    yield result
            except BrokenProcessPool:  # one of the pending items did it: try the first alone, the others again
                todo.extendleft(item for item, _ in reversed(pending))
                yield _alone(work, todo.popleft(), lost)
            finally:
                pool.shutdown(cancel_futures=True)


def _alone(work: Callable[[Item], Result], item: Item, lost: Result) -> Result:
    with _pool(1) as pool:
        try:
            pool.submit(int).result()
        except BrokenProcessPool as error:
            raise InputError("workers: no process can be started; call under `if __name__ == '__main__'`") from error
        try:
            return pool.submit(work, item).result()
        except BrokenProcessPool:
            return lost


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_process)


def _start_process() -> None:
    """Limit OpenCV and ITK to one thread (default: one per core), and end the process when its parent ends."""
    import SimpleITK as sitk

    cv2.setNumThreads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threading.Thread(target=end_with_parent, daemon=True).start()
