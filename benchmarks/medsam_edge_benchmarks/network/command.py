"""`medsam-edge bench encoder`, `decoder` and `model`: their settings, and where their figures go."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import openvino as ov
import torch

from medsam_edge.cli.info import cpu_features
from medsam_edge.errors import InputError
from medsam_edge.networks.bundle import load_bundle, packaged_bundle
from medsam_edge_benchmarks.network.profile import as_table, profile
from medsam_edge_benchmarks.network.timing import Timing, gmacs, measure_decoder, measure_encoder
from medsam_edge_benchmarks.report.output import SuiteConfig
from medsam_edge_train import checkpoint
from medsam_edge_train.models import TEACHER, build
from medsam_edge_train.progress import show_progress
from medsam_edge_train.settings import at_least_one, check


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(SuiteConfig):
    """Settings of the suites that time a network alone.

    Attributes:
        rounds: of every variant.
        threads: of the processor; all if not given.
    """

    rounds: int = 10
    threads: int | None = None

    def __post_init__(self) -> None:
        check(self, "positive numbers", lambda value: value is None or value >= 1, "rounds", "threads")

    @property
    def cpu_threads(self) -> int:
        return (os.cpu_count() or 1) if self.threads is None else self.threads


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(NetworkConfig):
    """Settings of `bench encoder`.

    Attributes:
        architecture: with random weights; rep_medsam if neither this nor a checkpoint is given.
        checkpoint: a trained network instead.
    """

    architecture: str | None = None
    checkpoint: Path | None = None
    rounds: int = 15

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture and self.checkpoint:
            raise InputError(f"--architecture: expected none beside --checkpoint, got {self.architecture}")


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(NetworkConfig):
    """Settings of `bench decoder`.

    Attributes:
        architecture: with random weights.
        boxes: of one image.
    """

    architecture: Literal["rep_medsam", "rep_medsam_s"] = "rep_medsam"
    boxes: tuple[int, ...] = (1, 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "positive numbers", lambda boxes: min(boxes, default=0) >= 1, "boxes")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(NetworkConfig):
    """Settings of `bench model`.

    Attributes:
        bundle: folder of the model; the packaged one if not given.
        boxes: decoded at once.
        top: rows per table.
    """

    bundle: Path | None = None
    boxes: int = 1
    top: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "positive numbers", at_least_one, "boxes", "top")


def bench_encoder(settings: EncoderConfig) -> dict[str, Any]:
    """Measure, and show the figures."""
    if settings.checkpoint:
        network, name = checkpoint.load(settings.checkpoint)
    else:
        name = settings.architecture or "rep_medsam"
        network = build(name).eval()
    if name == TEACHER:
        raise InputError(f"architecture: {TEACHER} sees larger images than the others and is not measured here")
    if not any(key.endswith("running_var") for key in network.image_encoder.state_dict()):
        raise InputError(
            "--checkpoint: expected branches not fused, to be timed as they are, got fused ones (or --qat's)"
        )
    with show_progress("encoder", settings.rounds + 2) as step:
        timings = measure_encoder(network, settings.rounds, settings.cpu_threads, step)
    work = gmacs(network)
    return {
        "architecture": name,
        "gmacs": work,
        "threads": settings.cpu_threads,
        "cpu_features": cpu_features(),
        "openvino": ov.__version__,
        "torch": torch.__version__,
        "timings": _shown(timings, f"encoder of {name}, 256×256, {work:.1f} GMAC", settings),
    }


def bench_decoder(settings: DecoderConfig) -> dict[str, Any]:
    """Measure, and show the figures."""
    network, found = build(settings.architecture).eval(), {}
    for count in settings.boxes:
        with show_progress(f"decoder, {count} boxes", settings.rounds + 2) as step:
            timings = measure_decoder(network, count, settings.rounds, settings.cpu_threads, step)
        found[str(count)] = _shown(
            timings, f"decoder of {settings.architecture}, {count} boxes", settings, "; ms per box"
        )
    return {
        "architecture": settings.architecture,
        "threads": settings.cpu_threads,
        "cpu_features": cpu_features(),
        "timings": found,
    }


def bench_model(settings: ModelConfig) -> dict[str, Any]:
    """Measure, and show the figures."""
    bundle = load_bundle(settings.bundle or packaged_bundle())
    profiles = profile(bundle, settings.boxes, settings.rounds, settings.cpu_threads)
    print(as_table(profiles, settings.top))
    return {"boxes": settings.boxes, "threads": settings.cpu_threads, "parts": [asdict(own) for own in profiles]}


def _shown(timings: Mapping[str, Timing], title: str, settings: NetworkConfig, unit: str = "") -> dict[str, Any]:
    """The timings as JSON has them, after they are printed."""
    print(f"{title}, {settings.cpu_threads} threads, {' '.join(cpu_features())}{unit}")
    width = max(map(len, timings))
    for variant, own in timings.items():
        spread = f"{own.low_ms:.0f}–{own.high_ms:.0f}"
        print(f"{variant:{width}} {own.median_ms:7.1f} ms  ({spread})  {own.ratio:5.2f}×")
    return {variant: asdict(own) for variant, own in timings.items()}
