"""`medsam-edge bench throughput`: which workers and threads give the most images a second on this machine."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medsam_edge.cli.info import cpu_features
from medsam_edge.cli.workers import WORKER_BYTES, crew_of, usable_cores
from medsam_edge.errors import InputError
from medsam_edge.writing.whole import replacing
from medsam_edge_benchmarks.report.output import SuiteConfig, console, figure, new_table, plain
from medsam_edge_benchmarks.throughput.runs import Kind, Measured, Variant, draw_folder, measure
from medsam_edge_train.progress import show_progress
from medsam_edge_train.settings import at_least_one, check

COLORS: dict[Kind, str] = {"processes": "#2563eb", "threads": "#9ca3af", "ray": "#d97706"}
MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ThroughputConfig(SuiteConfig):
    """Settings of `bench throughput`.

    Attributes:
        images: that are drawn; more for machines with many cores.
        rounds: of every variant, in turns.
        workers: numbers of workers; if not given, the divisors of the number of cores.
        threads: of each worker; if not given, as many as there are cores for.
        kinds: processes (`segment --workers`), threads of one process, actors of a Ray started here.
        data: a folder of your own images instead, with `--boxes`.
        boxes: the folder of their boxes.
        bundle: folder of the model; the packaged one if not given.
        plot: file for a picture of the rates, png or svg.
    """

    images: int = 240
    rounds: int = 3
    workers: tuple[int, ...] = ()
    threads: int | None = None
    kinds: tuple[Kind, ...] = ("processes", "threads")
    data: Path | None = None
    boxes: Path | None = None
    bundle: Path | None = None
    plot: Path | None = None

    def __post_init__(self) -> None:
        check(self, "a positive number", at_least_one, "images", "rounds")
        check(self, "positive numbers", lambda workers: all(number >= 1 for number in workers), "workers")
        check(self, "a positive number", lambda value: value is None or value >= 1, "threads")
        if (self.data is None) != (self.boxes is None):
            raise InputError("--data, --boxes: expected both or none")

    @property
    def variants(self) -> list[Variant]:
        """Every kind with every number of workers."""
        cores = usable_cores()
        workers = self.workers or tuple(number for number in range(1, cores + 1) if cores % number == 0)
        return [
            Variant(kind, number, self.threads or max(1, cores // number)) for number in workers for kind in self.kinds
        ]


def bench_throughput(settings: ThroughputConfig) -> dict[str, Any]:
    """Measure, and show the figures."""
    bundle = [] if settings.bundle is None else ["--bundle", str(settings.bundle)]
    runs: dict[Variant, list[Measured]] = {variant: [] for variant in settings.variants}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images, boxes = (
            (settings.data, settings.boxes) if settings.data and settings.boxes else draw_folder(root, settings.images)
        )
        with show_progress("throughput", settings.rounds * len(runs)) as step:
            for number in range(settings.rounds):
                for variant in runs:
                    step(str(variant))
                    runs[variant].append(measure(variant, images, boxes, root / f"{number} {variant}", bundle))
        sizes = [file.stat().st_size for file in images.iterdir() if file.is_file()]
        label_sizes = [file.stat().st_size for file in (root / f"0 {next(iter(runs))}").iterdir() if file.is_file()]
    medians = {variant: median(own) for variant, own in runs.items()}
    show(medians)
    if settings.plot:
        draw(settings.plot, medians)
    return {
        "cores": usable_cores(),
        "cpu_features": cpu_features(),
        "image_bytes": float(np.mean(sizes)),
        "label_bytes": float(np.mean(label_sizes)),
        "variants": [asdict(variant) | asdict(found) for variant, found in medians.items()],
    }


def median(runs: Sequence[Measured]) -> Measured:
    """Of each figure by itself; of the memory the largest."""

    def middle(name: str) -> float:
        return float(np.median([getattr(run, name) for run in runs]))

    stages = {stage: float(np.median([run.stages_ms[stage] for run in runs])) for stage in runs[0].stages_ms}
    memory = max(run.memory_bytes for run in runs)
    rates = middle("images_per_s"), middle("boxes_per_s"), middle("core_s"), middle("start_s")
    return Measured(*rates, memory, stages)


def show(medians: Mapping[Variant, Measured]) -> None:
    """The table, what to give on this machine, and what `--workers auto` gives."""
    rows = new_table(f"{usable_cores()} cores, {' '.join(cpu_features())}; medians")
    for name in ("workers × threads", "images/s", "boxes/s", "× first", "core-s/image", "start s", "memory MB"):
        rows.add_column(name, justify="left" if name == "workers × threads" else "right")
    first = next(iter(medians.values())).images_per_s
    for variant, found in medians.items():
        rates = f"{found.images_per_s:.2f}", f"{found.boxes_per_s:.1f}", f"{found.images_per_s / first:.2f}"
        rows.add_row(
            str(variant), *rates, f"{found.core_s:.3f}", f"{found.start_s:.1f}", f"{found.memory_bytes / MEGABYTE:.0f}"
        )
    console().print(rows)
    processes = {variant: found for variant, found in medians.items() if variant.kind == "processes"}
    if not processes:
        return
    best = max(processes, key=lambda variant: processes[variant].images_per_s)
    print(f"on this machine: medsam-edge segment FOLDER --workers {best.workers} --threads {best.threads}")
    crew = crew_of(argparse.Namespace(workers="auto", threads=None))
    auto = Variant("processes", crew.workers, crew.threads or 1)
    said = "was not measured"
    if auto in processes:
        said = f"has {processes[auto].images_per_s / processes[best].images_per_s:.2f} of that"
    print(f"--workers auto is {auto.workers} × {auto.threads}, which {said}")
    each = max(found.memory_bytes / variant.workers for variant, found in processes.items()) / MEGABYTE
    print(f"it reckons with {WORKER_BYTES // MEGABYTE} MB a worker; the most was {each:.0f}")


def draw(file: Path, medians: Mapping[Variant, Measured]) -> None:
    """Rates and memory by the number of workers; the file appears whole or not at all."""
    picture, axes = figure(3.6)
    for kind, color in COLORS.items():
        own = [(variant.workers, found) for variant, found in medians.items() if variant.kind == kind]
        if own:
            workers = [number for number, _ in own]
            axes.plot(workers, [found.images_per_s for _, found in own], "o-", color=color, label=f"{kind}: images/s")
            for number, found in own:
                text = f" {found.memory_bytes / MEGABYTE:.0f} MB"
                axes.annotate(text, (number, found.images_per_s), color=color, fontsize=8, va="bottom")
    axes.set_ylim(0, 1.15 * max(found.images_per_s for found in medians.values()))
    axes.set_xticks(sorted({variant.workers for variant in medians}))
    axes.legend(frameon=False, loc="lower right")
    plain(axes, "workers", "images a second")
    with replacing(file) as partial:
        picture.savefig(partial, dpi=120)
