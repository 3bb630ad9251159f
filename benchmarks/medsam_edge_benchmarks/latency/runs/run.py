"""The whole run: every case and variant interleaved, memory and starts in fresh processes, the machine's own rates."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
import torch

import medsam_edge
from medsam_edge.cli.info import cpu_features
from medsam_edge.errors import BundleError, InputError
from medsam_edge.networks.engine import OpenVinoNetwork
from medsam_edge.networks.model import Model, Network
from medsam_edge_benchmarks.latency.cases.cases import CASES, DrawnCase, LatencyCase, choose, draw
from medsam_edge_benchmarks.latency.published.baselines import load_baseline
from medsam_edge_benchmarks.latency.runs import roofline
from medsam_edge_benchmarks.latency.runs.figures import CaseFigures, LatencyReport, summarize
from medsam_edge_benchmarks.latency.runs.fresh import Request, cold_starts, run_fresh
from medsam_edge_benchmarks.latency.variants import BASELINES, OURS, Ours, Run, Variant
from medsam_edge_train import checkpoint
from medsam_edge_train.models import build

START_CASE = "US_0525"
"""Drawn for the cold start: the smallest."""
ENGINE_SETTINGS = ("PERFORMANCE_HINT", "NUM_STREAMS", "INFERENCE_NUM_THREADS")
RANDOM_WEIGHTS = (
    "The PyTorch baselines have random weights: they do the work of the published networks, their masks mean nothing."
)


@dataclass(frozen=True)
class LatencyPlan:
    """What to measure.

    Attributes:
        cases: of the papers, by name, or CT_1000, a scanner's volume of 1000 slices.
        rounds: of each case; every variant runs once in each.
        cold_rounds: starts of each variant.
        memory: also run every case and variant once in a process of its own.
        baseline_slices: slices of a volume that the baselines run, scaled up by count; 0 for all.
        baseline_boxes: boxes of an image that they run, likewise.
        threads: of OpenVINO, PyTorch and OpenCV alike.
        bundle: folder of a model; the packaged one if not given.
        quick: a short look of a minute or two: few cases and rounds, baselines in part.
    """

    cases: tuple[str, ...] = tuple(case.name for case in CASES)
    rounds: int = 5
    cold_rounds: int = 3
    memory: bool = True
    baseline_slices: int = 6
    baseline_boxes: int = 4
    threads: int = 2
    bundle: Path | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        if not choose(self.cases):
            raise InputError("cases: expected one or more, got none")
        if min(self.rounds, self.cold_rounds, self.threads) < 1:
            raise InputError("rounds, threads: expected positive numbers")
        if min(self.baseline_slices, self.baseline_boxes) < 0:
            raise InputError("baseline slices, baseline boxes: expected 0 (all) or more")


QUICK = {
    "cases": ("MR_0179", "US_0525", "X-Ray_0053"),
    "rounds": 2,
    "cold_rounds": 1,
    "memory": False,
    "baseline_slices": 1,
    "baseline_boxes": 2,
}


def steps(plan: LatencyPlan) -> int:
    """How often `measure_latency` reports."""
    variants = 1 + len(BASELINES)
    per_case = 1 + variants * (1 + plan.rounds + plan.memory)
    return 3 + len(plan.cases) * per_case + 1 + (variants + 1) * plan.cold_rounds


def measure_latency(
    plan: LatencyPlan, folder: Path, step: Callable[[str], None], save: Callable[[LatencyReport], None]
) -> LatencyReport:
    """Measure everything; what is done after each case goes through `save`, so that an interrupted run keeps it.

    Args:
        folder: for drawn cases, masks, checkpoints and compiled models.
        step: told what begins, `steps(plan)` times.
    """
    step("loading the networks")
    ours, limits = Ours(plan.bundle, plan.threads), (plan.baseline_slices, plan.baseline_boxes)
    variants: dict[str, Variant] = {OURS: ours}
    requests = {OURS: Request(plan.threads, bundle=str(plan.bundle) if plan.bundle else None)}
    for name, (architecture, fuse) in BASELINES.items():  # as published, with random weights
        path = folder / f"{architecture}.safetensors"
        if not path.exists():
            checkpoint.write(path, build(architecture), architecture)
        requests[name] = Request(plan.threads, None, None, str(path), fuse, *limits)
        variants[name] = load_baseline(path, fuse, plan.threads, *limits)
    if ours.model.bundle is None:
        raise BundleError("bundle: expected a model from a folder")
    settings: dict[str, Any] = {field.name: getattr(plan, field.name) for field in fields(LatencyPlan)}
    settings |= {"cases": list(plan.cases), "bundle": str(plan.bundle) if plan.bundle else "packaged"}
    report = LatencyReport(settings, _describe(ours.model, plan.threads), _notes(plan))
    step("matrix rates and bandwidth of the machine")
    report.roofline = roofline.measure_roofline(ours.model, ours.model.bundle, plan.threads)
    for case in choose(plan.cases):
        report.cases.append(_measure_case(case, plan, variants, requests, folder, step))
        save(report)
    step(f"drawing {START_CASE}")
    start = draw(choose([START_CASE])[0], folder)
    runs, peaks = cold_starts(requests, start, plan.cold_rounds, folder, lambda what: step(f"cold start: {what}"))
    report.cold_start = summarize(runs, 1, 1, peaks)
    report.complete = True
    save(report)
    return report


def interleave(
    variants: Mapping[str, Variant], drawn: DrawnCase, rounds: int, output: Path, step: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Every variant once a round, one after the other, so that a slow minute of the machine slows all of them. A slice
    or a box of the case warms each up."""
    for name, variant in variants.items():
        step(f"{name}: warming up")
        variant.run(drawn.part(1, 1), output)
    runs: dict[str, list[Run]] = {name: [] for name in variants}
    for number in range(1, rounds + 1):
        for name, variant in variants.items():
            step(f"{name}: round {number} of {rounds}")
            runs[name].append(variant.run(drawn, output))
    return runs


def _measure_case(
    case: LatencyCase,
    plan: LatencyPlan,
    variants: Mapping[str, Variant],
    requests: Mapping[str, Request],
    folder: Path,
    step: Callable[[str], None],
) -> CaseFigures:
    step(f"{case.name}: drawing")
    drawn = draw(case, folder)
    output = folder / "segs.npz"
    runs = interleave(variants, drawn, plan.rounds, output, lambda what: step(f"{case.name}, {what}"))
    peaks: dict[str, float | None] = {}
    for name, request in requests.items() if plan.memory else ():
        step(f"{case.name}, {name}: memory")
        _, peaks[name] = run_fresh(request, drawn, output)
    drawn.file.unlink()
    return CaseFigures(case, drawn.slices, drawn.masks, summarize(runs, drawn.slices, drawn.masks, peaks))


def _notes(plan: LatencyPlan) -> Sequence[str]:
    notes = [RANDOM_WEIGHTS]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores > plan.threads:
        notes.append(
            f"In volumes {OURS} encodes ahead while it decodes, each on up to {plan.threads} cores, and {cores} were "
            "free to it; the baselines do one after the other. taskset holds all variants to as many cores."
        )
    if plan.baseline_slices or plan.baseline_boxes:
        slices, boxes = plan.baseline_slices or "all", plan.baseline_boxes or "all"
        notes.append(
            f"Baselines run a part (slices of a volume: {slices}; boxes of an image: {boxes}); "
            "what is scaled up by count is marked ≈."
        )
    if not plan.memory:
        notes.append("Memory per case was not measured; the cold start's is that of its small image.")
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if busy > (os.cpu_count() or 1) / 2:
        notes.append(
            f"The machine was busy when this began (load {busy:.1f}), and engines suffer from that unequally: "
            "even ratios are worth little; measure again when it is idle."
        )
    if plan.rounds < 100:
        notes.append(f"Rounds of each case: {plan.rounds}; the 99th percentile is nearly the slowest of them.")
    return notes


def _describe(model: Model, threads: int) -> dict[str, str]:
    """What a figure depends on besides the code, by name, for people; OpenVINO says its own threads."""
    return {
        "processor": _cpu_model(),
        "vector extensions": " ".join(cpu_features()) or "not reported",
        "system": platform.platform(),
        "threads": f"{threads} for PyTorch, OpenCV and OpenVINO",
        "encoder": _engine(model.encoder),
        "decoder": _engine(model.decoder),
        "model": f"{model.bundle.manifest.architecture}, {model.identity[:12]}" if model.bundle else model.identity,
        "medsam-edge": medsam_edge.__version__,
        "OpenVINO": str(ov.__version__),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
        "Python": platform.python_version(),
    }


def _cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.lower().startswith("model name")]
    return f"{names[0]}, {len(names)} logical" if names else platform.processor() or platform.machine()


def _engine(network: Network) -> str:
    own = f"floating point in {network.effective_precision}"
    if isinstance(network, OpenVinoNetwork):
        own += "".join(f", {name} {network.setting(name)}" for name in ENGINE_SETTINGS)
    return own
