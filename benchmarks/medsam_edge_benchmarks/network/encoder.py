"""How fast one slice is encoded: PyTorch as published, PyTorch fused, OpenVINO f32 and int8, in one interleaved run."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch.utils.flop_counter import FlopCounterMode

from medsam_edge_convert.checks import IMAGE_SIZE
from medsam_edge_convert.export import export_encoder
from medsam_edge_convert.quantize import PHANTOMS, calibration_set, quantize
from medsam_edge_train.models import MedSAM, fuse

BASELINE = "PyTorch, branches not fused"


@dataclass(frozen=True)
class Timing:
    """Milliseconds: median and quartiles over the rounds."""

    median_ms: float
    low_ms: float
    high_ms: float
    ratio: float  # of the baseline's median to this median


def measure_encoder(network: MedSAM, rounds: int, num_threads: int, report: Callable[[str], None]) -> dict[str, Timing]:
    """Time every variant once a round, one after the other, so that a slow minute of the machine slows all of them."""
    torch.set_num_threads(num_threads)
    report("preparing: fuse, export, quantize")
    image = np.random.default_rng(0).random((1, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    calls = {name: partial(call, image) for name, call in variants(network, num_threads).items()}
    return summarize(time_in_turns(calls, rounds, report), BASELINE)


def time_in_turns(
    calls: Mapping[str, Callable[[], Any]], rounds: int, report: Callable[[str], None]
) -> dict[str, list[float]]:
    """Milliseconds of each call, each made once a round; a first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                times[name].append((time.perf_counter() - start) * 1e3)
        report(f"round {number}/{rounds}")
    return times


def gmacs(network: MedSAM) -> float:
    """Thousand millions of multiply-adds of one image's encoding, of convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.embed(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
    return float(counter.get_total_flops()) / 2e9


def summarize(times: Mapping[str, list[float]], baseline: str) -> dict[str, Timing]:
    """Medians, quartiles, and ratios to the baseline's median."""
    base = float(np.median(times[baseline]))
    return {
        name: Timing(
            float(np.median(values)),
            float(np.percentile(values, 25)),
            float(np.percentile(values, 75)),
            base / float(np.median(values)),
        )
        for name, values in times.items()
    }


def variants(network: MedSAM, num_threads: int) -> dict[str, Callable[[npt.NDArray[np.float32]], Any]]:
    """The same encoder four ways, each a function of one (1, 3, S, S) image."""
    fused = cast(MedSAM, fuse(copy.deepcopy(network)))
    exported = export_encoder(fused, IMAGE_SIZE)
    quantized = quantize(exported, calibration_set(PHANTOMS, IMAGE_SIZE))
    config = {"INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY"}
    f32 = ov.compile_model(exported, "CPU", {**config, "INFERENCE_PRECISION_HINT": "f32"})
    int8 = ov.compile_model(quantized, "CPU", config)

    def eager(module: MedSAM) -> Callable[[npt.NDArray[np.float32]], Any]:
        def call(image: npt.NDArray[np.float32]) -> Any:
            with torch.inference_mode():
                return module.embed(torch.from_numpy(image))

        return call

    return {
        BASELINE: eager(network),
        "PyTorch, fused": eager(fused),
        "OpenVINO f32, fused": lambda image: f32({"image": image}),
        "OpenVINO int8, fused": lambda image: int8({"image": image}),
    }
