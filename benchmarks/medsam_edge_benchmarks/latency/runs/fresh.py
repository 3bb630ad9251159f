"""Variants in processes of their own: the start, from the first import to the first mask, and the peak of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from medsam_edge.errors import MedsamEdgeError
from medsam_edge_benchmarks.latency.cases.cases import DrawnCase
from medsam_edge_benchmarks.latency.variants import BASELINES, OURS, Run

EMPTY, WARM = f"{OURS}, empty cache", f"{OURS}, warm cache"


@dataclass(frozen=True)
class Request:
    """What a worker is to run."""

    threads: int  # of the CPU, for the engine
    bundle: str | None = None  # of ours; None for the packaged one
    cache_dir: str | None = None  # of ours, for compiled models; None keeps none
    checkpoint: str | None = None  # of a published network; None runs ours
    fuse: bool = False  # that network's branches
    baseline_slices: int = 0  # these two: see `baselines.Baseline`
    baseline_boxes: int = 0


def run_fresh(request: Request, drawn: DrawnCase, output: Path) -> tuple[Run, float | None]:
    """Run a case once in a new process; also gives the peak of its memory in megabytes, None where it is not known."""
    prompts = {"file": str(drawn.file), "boxes": drawn.boxes.tolist(), "modality": drawn.modality.value}
    done = subprocess.run(
        [sys.executable, "-m", "medsam_edge_benchmarks.latency.runs.worker"],
        input=json.dumps({**asdict(request), **prompts, "output": str(output)}),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MedsamEdgeError(f"bench latency: a process of its own for {drawn.file.stem} failed: {reason}")
    found = json.loads(done.stdout)
    return Run(found["seconds"], sum(found["seconds"].values()), found["scaled_from"]), found["peak_mb"]


def cold_starts(
    requests: Mapping[str, Request], drawn: DrawnCase, rounds: int, folder: Path, report: Callable[[str], None]
) -> tuple[dict[str, list[Run]], dict[str, float | None]]:
    """Start every variant once a round, one after the other; ours both without and with compiled models at hand.

    Gives runs and peaks of memory (of the last round) by name; ours under `EMPTY` and `WARM`. Of the baselines, those
    run that `requests` has.
    """
    warm, output = replace(requests[OURS], cache_dir=str(folder / "warm")), folder / "first.npz"
    report("filling the cache of compiled models")
    run_fresh(warm, drawn, output)
    names = [EMPTY, WARM, *(name for name in BASELINES if name in requests)]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    peaks: dict[str, float | None] = {}
    for _ in range(rounds):
        for name in names:
            report(name)
            with tempfile.TemporaryDirectory(dir=folder) as empty:
                own = {EMPTY: replace(warm, cache_dir=empty), WARM: warm}
                run, peaks[name] = run_fresh(own.get(name) or requests[name], drawn, output)
            runs[name].append(run)
    return runs, peaks
