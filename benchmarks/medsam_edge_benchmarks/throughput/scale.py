"""`medsam-edge bench scale`: time and cost of many images on many machines, from what `bench throughput` measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from medsam_edge.errors import FileMissingError, InputError
from medsam_edge_benchmarks.report.output import SuiteConfig, console, new_table
from medsam_edge_benchmarks.throughput.simulation import Site, simulate
from medsam_edge_train.progress import show_progress
from medsam_edge_train.settings import at_least_one, check, not_negative

GIGABYTE = 1 << 30
COMPARED = 1000
"""Images that are simulated on the machine that was measured."""


@dataclass(frozen=True, kw_only=True)
class ScaleConfig(SuiteConfig):
    """Settings of `bench scale`.

    Attributes:
        rates: what `bench throughput --json` wrote.
        images: of a job.
        nodes: machines.
        cores: of each machine; a worker each.
        store_mb_s: megabytes a second that the store gives to all machines together.
        lost_per_day: losses of a machine in a day.
        away_minutes: until a lost machine works again.
        simulated: images of each worker that are simulated at most; larger jobs go on at the same rate.
    """

    rates: Path
    images: tuple[int, ...] = (100_000, 1_000_000, 100_000_000)
    nodes: tuple[int, ...] = (1, 8, 64)
    cores: int = 16
    store_mb_s: float = 1000.0
    lost_per_day: float = 1.0
    away_minutes: float = 10.0
    simulated: int = 60

    def __post_init__(self) -> None:
        check(self, "positive numbers", lambda values: values and min(values) >= 1, "images", "nodes")
        check(self, "a positive number", at_least_one, "cores", "simulated")
        check(self, "a positive number", lambda value: 0 < value < float("inf"), "store_mb_s")
        check(self, "a number from 0", not_negative, "lost_per_day", "away_minutes")


@dataclass(frozen=True)
class Rates:
    """What was measured: by the number of worker processes with a thread each; bytes of an image and its label map."""

    images_per_s: Mapping[int, float]
    core_s: Mapping[int, float]
    memory_bytes: Mapping[int, float]
    image_bytes: float

    @property
    def image_s(self) -> float:
        """Processor seconds of an image while all cores of the machine are at work; a worker has a core to itself."""
        return self.core_s[max(self.core_s)]

    @property
    def worker_bytes(self) -> float:
        """Memory of one worker more."""
        most, least = max(self.memory_bytes), min(self.memory_bytes)
        if most == least:
            return self.memory_bytes[most] / most
        return (self.memory_bytes[most] - self.memory_bytes[least]) / (most - least)


def read_rates(file: Path) -> Rates:
    """Read what `bench throughput` wrote; InputError without processes of one thread or figures above 0."""
    if not file.is_file():
        raise FileMissingError(f"--rates: no such file: {file}")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        own = [item for item in found["variants"] if item["kind"] == "processes" and item["threads"] == 1]
        rates = Rates(
            {int(item["workers"]): float(item["images_per_s"]) for item in own},
            {int(item["workers"]): float(item["core_s"]) for item in own},
            {int(item["workers"]): float(item["memory_bytes"]) for item in own},
            float(found["image_bytes"]) + float(found["label_bytes"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--rates: expected what `bench throughput --json` writes, {file}: {error!r}") from error
    if not own:
        raise InputError(f"--rates: expected processes of one thread in {file}, as of --threads 1")
    numbers = (*rates.images_per_s.values(), *rates.core_s.values(), *rates.memory_bytes.values(), rates.image_bytes)
    if not all(0 < number < float("inf") for number in numbers):
        raise InputError(f"--rates: expected rates, seconds and bytes above 0 in {file}; run it with more --images")
    return rates


def bench_scale(settings: ScaleConfig) -> dict[str, Any]:
    """Simulate, and show the figures."""
    rates = read_rates(settings.rates)
    one = Site(
        nodes=1,
        workers=settings.cores,
        image_s=rates.image_s,
        image_bytes=rates.image_bytes,
        store_bytes_s=settings.store_mb_s * 1e6,
        lost_per_h=settings.lost_per_day / 24,
        away_s=settings.away_minutes * 60,
    )
    jobs = [(images, nodes) for images in settings.images for nodes in settings.nodes]
    found = []
    with show_progress("scale", len(jobs)) as step:
        for images, nodes in jobs:
            step(f"{images} images, {nodes} nodes")
            simulated = min(images, settings.simulated * nodes * settings.cores)
            found.append(job_on(replace(one, nodes=nodes), images, simulated))
    checks = compare(rates, one)
    show(found, checks, rates, settings)
    return {"jobs": found, "measured": checks, "image_s": rates.image_s, "worker_bytes": rates.worker_bytes}


def job_on(site: Site, images: int, simulated: int) -> dict[str, Any]:
    """A job by the closed form, and how the simulation of its beginning differs."""
    outcome = simulate(site, simulated)
    seconds = images / site.rate
    return {
        "images": images,
        "hours": seconds / 3600,
        "core_hours": seconds / 3600 * site.nodes * site.workers,
        "limit": site.limit,
        "simulated_over_closed": outcome.seconds * site.rate / simulated,
        "store_busy": outcome.store_busy,
        "bytes": images * site.image_bytes,
        "losses": site.lost_per_h * site.nodes * seconds / 3600,
        "redone_by_a_loss": site.workers,
        **asdict(site),
    }


def compare(rates: Rates, site: Site) -> list[dict[str, float]]:
    """Images a second on the machine that was measured, and what the simulation says of it by the processor seconds."""
    checks = []
    for workers, measured in sorted(rates.images_per_s.items()):
        own = replace(site, nodes=1, workers=workers, image_s=rates.core_s[workers], lost_per_h=0.0)
        simulated = COMPARED / simulate(own, COMPARED).seconds
        checks.append({"workers": workers, "measured": measured, "simulated": simulated})
    return checks


def show(
    found: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, float]], rates: Rates, settings: ScaleConfig
) -> None:
    """The tables."""
    print(
        f"{rates.image_s:.3f} core-seconds and {rates.image_bytes / 1e3:.0f} kB an image, "
        f"{rates.worker_bytes / GIGABYTE:.2f} GB a worker (measured); {settings.cores} cores and so "
        f"{settings.cores * rates.worker_bytes / GIGABYTE:.1f} GB a node, "
        f"{settings.store_mb_s:g} MB/s from the store, {settings.lost_per_day:g} losses a node and day"
    )
    rows = new_table("time and cost")
    for name in ("images", "nodes", "hours", "core-hours", "limit", "store busy", "TB", "losses", "simulated ÷ closed"):
        rows.add_column(name, justify="right")
    for job in found:
        rows.add_row(
            f"{job['images']:,}",
            str(job["nodes"]),
            f"{job['hours']:.3g}",
            f"{job['core_hours']:,.0f}",
            job["limit"],
            f"{job['store_busy']:.0%}",
            f"{job['bytes'] / 1e12:.3g}",
            f"{job['losses']:.2g}",
            f"{job['simulated_over_closed']:.2f}",
        )
    console().print(rows)
    for item in checks:
        print(
            f"{item['workers']:.0f} workers on the machine that was measured: {item['measured']:.2f} images/s, "
            f"simulated {item['simulated']:.2f}"
        )
