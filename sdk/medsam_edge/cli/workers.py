"""Shares of a folder's work: its part of several jobs, and the processes of one."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2

from medsam_edge.cli.output import show_warning
from medsam_edge.cli.segment import make_segmenter
from medsam_edge.errors import InputError, MedsamEdgeError
from medsam_edge.segmenter import DEFAULT_CACHE_BYTES, Segmenter

Item = TypeVar("Item")
Report = dict[str, Any]
Work = Callable[[Segmenter, Any], Report]

WORKER_BYTES = 1 << 30
"""Memory that a worker is reckoned with: the model, the embeddings that it keeps and images of usual sizes."""
CGROUP = Path("/sys/fs/cgroup")


def part_of(items: Sequence[Item], part: str | None) -> list[Item]:
    """Every N-th item from the I-th, for a part "I/N"; all for None. The parts are disjoint and together the whole.

    Raises:
        InputError: not I/N with whole numbers, 1 ≤ I ≤ N.
    """
    if part is None:
        return list(items)
    match = re.fullmatch(r"(\d+)/(\d+)", part, re.ASCII)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise InputError(f"--part: expected I/N with I from 1 to N, as 2/8, got {part!r}")
    return list(items[number - 1 :: count])


def usable_cores() -> int:
    """Cores that this process may use: less than the machine has where it is bound to some, or in a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _text(CGROUP / "cpu.max").partition(" ")
    return max(1, min(cores, int(quota) // int(period))) if quota.isdecimal() else cores


def free_bytes() -> int | None:
    """Memory that new processes can take, at most what a container may; None where the system does not say."""
    available = re.search(r"^MemAvailable: +(\d+) kB$", _text(Path("/proc/meminfo")), re.MULTILINE)
    if not available:
        return None
    free, limit = int(available[1]) * 1024, _text(CGROUP / "memory.max")
    if not limit.isdecimal():
        return free
    cached = re.search(r"^inactive_file (\d+)$", _text(CGROUP / "memory.stat"), re.MULTILINE)
    used = int(_text(CGROUP / "memory.current") or 0) - (int(cached[1]) if cached else 0)
    return max(0, min(free, int(limit) - used))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Crew:
    """Processes that segment images, each with a segmenter of its own."""

    workers: int
    threads: int | None
    options: argparse.Namespace

    def map(self, work: Work, items: Sequence[Any], segmenter: Segmenter) -> Iterator[Report]:
        """`work(segmenter, item)` of every item, here in their order with one worker, else as they are done.

        Raises:
            MedsamEdgeError: a process was lost. What it was to do is not done.
        """
        if self.workers == 1:
            yield from (work(segmenter, item) for item in items)
            return
        options = argparse.Namespace(**vars(self.options) | {"threads": self.threads})
        spawned = multiprocessing.get_context("spawn")
        workers = max(1, min(self.workers, len(items)))
        pool = ProcessPoolExecutor(workers, spawned, _start, (options, DEFAULT_CACHE_BYTES // workers))
        try:
            for future in as_completed([pool.submit(_run, work, item) for item in items]):
                yield future.result()
        except BrokenProcessPool as error:
            raise MedsamEdgeError(
                f"--workers: one of {self.workers} processes was lost; where memory was short, take fewer. "
                "The same command goes on with what is left"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def crew_of(options: argparse.Namespace) -> Crew:
    """What --workers and --threads ask for.

    `auto` is the rule that `bench throughput` checks: processes of one thread, or of as many as --threads says; as many
    as there are cores for, and memory at `WORKER_BYTES` each.

    Raises:
        InputError: neither `auto` nor a positive number.
    """
    text, threads = options.workers, options.threads
    if text == "auto":
        free, each = free_bytes(), max(1, threads or 1)
        fitting = usable_cores() if free is None else free // WORKER_BYTES
        return Crew(max(1, min(usable_cores() // each, fitting)), each, options)
    if not re.fullmatch(r"[1-9]\d{0,3}", text, re.ASCII):
        raise InputError(f"--workers: expected auto or a number from 1 to 9999, got {text!r}")
    workers = int(text)
    return Crew(workers, threads if threads or workers == 1 else max(1, usable_cores() // workers), options)


_segmenter: Segmenter


def _start(options: argparse.Namespace, cache_bytes: int) -> None:
    """Begin a worker. It ends with the process that began it, which alone hears an interrupt."""
    global _segmenter
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    warnings.showwarning = show_warning
    cv2.setNumThreads(options.threads)
    _segmenter = make_segmenter(options, cache_bytes)


def end_with_parent() -> None:
    """A pool's process whose parent was killed would wait for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _run(work: Work, item: Any) -> Report:
    return work(_segmenter, item)
