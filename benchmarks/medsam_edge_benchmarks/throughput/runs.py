"""One way to segment a folder, timed from outside: the command prints a line for each image when it is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil

from medsam_edge.errors import MedsamEdgeError
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom
from medsam_edge.writing.picture import write_picture

Kind = Literal["processes", "threads", "ray"]
PROGRAMS: dict[Kind, list[str]] = {
    "processes": ["medsam_edge", "segment"],
    "threads": ["medsam_edge_benchmarks.throughput.shared"],
    "ray": ["medsam_edge", "cluster", "segment"],
}
WARM_SHARE = 0.25
"""Of the images that are not counted: workers begin one after the other, and prepare for new sizes of boxes."""
BURST_SECONDS = 0.02
"""Lines closer than this came together."""
DRAWN = (
    (Modality.US, (256, 256), 1),
    (Modality.XRAY, (512, 640), 4),
    (Modality.ENDOSCOPY, (480, 560), 1),
    (Modality.MICROSCOPY, (512, 512), 12),
    (Modality.CT, (512, 512), 3),
    (Modality.DERMOSCOPY, (768, 1024), 1),
)
"""Modality, size in pixels and objects of the images that are drawn, in turns."""


@dataclass(frozen=True)
class Variant:
    """Workers with so many threads each: processes, threads of one process, or actors of Ray."""

    kind: Kind
    workers: int
    threads: int

    def __str__(self) -> str:
        return f"{self.workers} × {self.threads} {self.kind}"


@dataclass(frozen=True)
class Measured:
    """What one run of a variant came to.

    Attributes:
        images_per_s: once all workers are at work.
        boxes_per_s: likewise.
        core_s: processor seconds of an image, likewise; other programs on the machine change it less than the rates.
        start_s: from the start to the first image.
        memory_bytes: the most that the command and its processes held, each shared page once.
        stages_ms: mean milliseconds of an image by stage.
    """

    images_per_s: float
    boxes_per_s: float
    core_s: float
    start_s: float
    memory_bytes: int
    stages_ms: dict[str, float]


def draw_folder(root: Path, count: int) -> tuple[Path, Path]:
    """Synthetic images as png, each with its boxes as json; the folders of both."""
    images, boxes = root / "images", root / "boxes"
    boxes.mkdir()
    for number in range(count):
        modality, shape, objects = DRAWN[number % len(DRAWN)]
        drawn = phantom(modality, shape, objects=objects, seed=number)
        write_picture(images / f"{number:05}.png", to_display(drawn.image, modality))
        (boxes / f"{number:05}.json").write_text(json.dumps(drawn.boxes.tolist()), encoding="utf-8")
    return images, boxes


def measure(variant: Variant, images: Path, boxes: Path, output: Path, options: Sequence[str] = ()) -> Measured:
    """Run a variant on a folder in processes of its own; MedsamEdgeError if it fails."""
    folders = [str(images), "--boxes", str(boxes), "-o", str(output)]
    many = ["--workers", str(variant.workers), "--threads", str(variant.threads)]
    command = [sys.executable, "-m", *PROGRAMS[variant.kind], *folders, *many, "--json", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started, times, reports = time.perf_counter(), [], []
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None  # noqa: S101
        said: list[str] = []
        listener = threading.Thread(target=lambda lines: said.extend(lines), args=(process.stderr,), daemon=True)
        listener.start()
        with watching(process.pid, started) as watched:
            for line in process.stdout:
                times.append(time.perf_counter() - started)
                reports.append(json.loads(line))
        listener.join()
    reports = [report for report in reports if "objects" in report]
    if process.returncode or not reports:
        raise MedsamEdgeError(f"bench throughput: {variant} failed: {(said or ['no message'])[-1].strip()}")
    return summarize(times[: len(reports)], reports, watched)


def summarize(times: Sequence[float], reports: Sequence[dict[str, Any]], watched: Watched) -> Measured:
    """Rates of the images that were done after the first quarter of them.

    Args:
        times: seconds at which each image was done, rising.
        reports: on each image, as `segment --json` prints them.
    """
    arrived = np.asarray(times)
    begun = arrived[int(len(arrived) * WARM_SHARE)]
    counted = arrived > begun + BURST_SECONDS
    if not counted.any():
        raise MedsamEdgeError(f"bench throughput: {len(arrived)} images are too few to count; expected more --images")
    rate = float(counted.sum() / (arrived[-1] - begun))
    boxes = float(np.mean([len(report["objects"]) for report in reports]))
    cores = float(np.diff(np.interp([begun, arrived[-1]], watched.at_s, watched.cores_s))[0])
    stages = list(reports[0]["timings_ms"])
    means = {stage: float(np.mean([report["timings_ms"][stage] for report in reports])) for stage in stages}
    core_s = cores / int(counted.sum())
    return Measured(rate, rate * boxes, core_s, float(arrived[0]), watched.memory_bytes, means)


@dataclass
class Watched:
    """What a process and those it started have taken, looked at often.

    Attributes:
        memory_bytes: the most at a time, each shared page once.
        at_s, cores_s: seconds since the start, and processor seconds until then.
    """

    memory_bytes: int = 0
    at_s: list[float] = field(default_factory=lambda: [0.0])
    cores_s: list[float] = field(default_factory=lambda: [0.0])


@contextmanager
def watching(pid: int, started: float) -> Iterator[Watched]:
    """What a process and those it starts take during the block, looked at every half a second and once at the end."""
    watched, done = Watched(), threading.Event()

    def look() -> None:
        while True:
            ended = done.wait(0.5)
            with suppress(psutil.Error):  # one of them has ended
                whole = psutil.Process(pid)
                processes = (whole, *whole.children(recursive=True))
                cores_s = sum(sum(process.cpu_times()[:4]) for process in processes)  # with children it waited for
                watched.at_s.append(time.perf_counter() - started)
                watched.cores_s.append(max(cores_s, watched.cores_s[-1]))  # less where nobody waited for a child
                watched.memory_bytes = max(watched.memory_bytes, sum(map(_memory_bytes, processes)))
            if ended:
                return

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield watched
    finally:
        done.set()
        looking.join()


def _memory_bytes(process: psutil.Process) -> int:
    """A process's memory; of pages that it shares, its part, where the system says it."""
    return getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
