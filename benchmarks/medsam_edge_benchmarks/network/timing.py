"""How fast a network encodes one slice and decodes boxes: variants of it, timed in one interleaved run.

Encoder: PyTorch as published and fused, OpenVINO f32 and int8. Decoder: PyTorch as published, one box at a time, and
OpenVINO with and without the cheaper arithmetic.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch.utils.flop_counter import FlopCounterMode

from medsam_edge.geometry import CELL, Geometry
from medsam_edge.inference.predictor import DECODE_BATCH, window_batches
from medsam_edge.networks.bundle import PROMPTS
from medsam_edge.networks.engine import off_main_thread
from medsam_edge_benchmarks.network.profile import time_in_turns
from medsam_edge_convert.checks import IMAGE_SIZE, REACH
from medsam_edge_convert.export import export_decoder, export_encoder
from medsam_edge_convert.quantize import PHANTOMS, calibration_set, quantize
from medsam_edge_train.models import MedSAM, fuse

ENCODER_BASELINE = "PyTorch, branches not fused"
DECODER_BASELINE = "PyTorch as published, box by box"
SIDES = 16, 96
"""Boxes are drawn with sides between these, in network pixels."""

Variants = dict[str, Callable[[], Any]]


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
    return summarize(time_in_turns(encoder_variants(network, num_threads), rounds, report), ENCODER_BASELINE)


def measure_decoder(
    network: MedSAM, boxes: int, rounds: int, num_threads: int, report: Callable[[str], None]
) -> dict[str, Timing]:
    """Milliseconds per box of one image; the network is as published: not re-parameterized, without class prompts."""
    torch.set_num_threads(num_threads)
    report("preparing: export")
    times = time_in_turns(decoder_variants(network, draw_boxes(boxes), num_threads), rounds, report)
    return summarize({name: [ms / boxes for ms in own] for name, own in times.items()}, DECODER_BASELINE)


def summarize(times: Mapping[str, list[float]], baseline: str) -> dict[str, Timing]:
    """Medians, quartiles, and ratios to the baseline's median."""
    timings: dict[str, Timing] = {}
    for name, values in times.items():
        median, (low, high) = float(np.median(values)), np.percentile(values, (25, 75)).tolist()
        timings[name] = Timing(median, low, high, float(np.median(times[baseline])) / median)
    return timings


def gmacs(network: MedSAM) -> float:
    """Thousand millions of multiply-adds of one image's encoding, of convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.embed(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
    return float(counter.get_total_flops()) / 2e9


def encoder_variants(network: MedSAM, num_threads: int) -> Variants:
    """The same encoder four ways, each a function that encodes one image, always the same."""
    image = np.random.default_rng(0).random((1, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    fused = cast(MedSAM, fuse(copy.deepcopy(network)))
    exported = export_encoder(fused, IMAGE_SIZE)
    f32 = _compile(exported, num_threads)
    int8 = _compile(quantize(exported, calibration_set(PHANTOMS, IMAGE_SIZE)), num_threads, exact=False)

    def eager(module: MedSAM) -> Callable[[], Any]:
        def call() -> None:
            with torch.inference_mode():
                module.embed(torch.from_numpy(image))

        return call

    return {
        ENCODER_BASELINE: eager(network),
        "PyTorch, fused": eager(fused),
        "OpenVINO f32, fused": lambda: f32({"image": image}),
        "OpenVINO int8, fused": lambda: int8({"image": image}),
    }


def draw_boxes(count: int) -> npt.NDArray[np.float32]:
    """(count, 4) boxes in the square, in network pixels, by size, as the segmenter decodes them; always the same."""
    random = np.random.default_rng(0)
    sides = random.uniform(*SIDES, (count, 2))
    sides = sides[np.argsort(sides.prod(axis=1))]
    low = random.uniform(0, IMAGE_SIZE - sides)
    return np.concatenate([low, low + sides], axis=1).astype(np.float32)


def decoder_variants(network: MedSAM, boxes: npt.NDArray[np.float32], num_threads: int) -> Variants:
    """The same decoder, each a function that decodes all boxes of one image; without inputs for clicks and masks."""
    network = copy.deepcopy(network)
    network.prompt_kinds = PROMPTS[:1]
    cheap = copy.deepcopy(network).reparameterize()
    published, exact = (_compile(export_decoder(own, IMAGE_SIZE), num_threads) for own in (network, cheap))
    rows = np.random.default_rng(1).standard_normal((1, (IMAGE_SIZE // 4) ** 2, 256), dtype=np.float32)

    def eager(module: MedSAM) -> Callable[[], Any]:
        def call() -> None:
            with torch.inference_mode():
                for box in torch.from_numpy(boxes):
                    module.decode(torch.from_numpy(rows), box[None])

        return call

    def engine(compiled: ov.CompiledModel, at_once: int, reach: int) -> Callable[[], Any]:
        def call() -> None:
            for start in range(0, len(boxes), at_once):
                own = boxes[start : start + at_once]
                cells = Geometry(IMAGE_SIZE, IMAGE_SIZE).windows(own, reach).cells
                compiled({"embedding": rows, "boxes": own, "cells": cells})

        return call

    def windowed(context: float) -> Callable[[], Any]:
        def call() -> None:
            for indices, windows in window_batches(boxes, context, IMAGE_SIZE // CELL):
                exact({"embedding": rows, "boxes": boxes[indices], "cells": windows.cells})

        return call

    last = {} if network.context is None else {"the same, in windows": windowed(network.context)}
    return {
        DECODER_BASELINE: eager(network),
        "PyTorch re-parameterized, box by box": eager(cheap),
        "OpenVINO f32 as published, box by box": engine(published, 1, IMAGE_SIZE),
        f"OpenVINO f32 as published, {DECODE_BATCH} boxes a call": engine(published, DECODE_BATCH, IMAGE_SIZE),
        f"OpenVINO f32 re-parameterized, {DECODE_BATCH} boxes a call": engine(exact, DECODE_BATCH, IMAGE_SIZE),
        f"the same, only where a mask within {REACH} pixels of its box can be": engine(exact, DECODE_BATCH, REACH),
        **last,
    }


def _compile(model: ov.Model, num_threads: int, exact: bool = True) -> ov.CompiledModel:
    config = {"INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY"}
    return off_main_thread(
        ov.compile_model, model, "CPU", {**config, "INFERENCE_PRECISION_HINT": "f32"} if exact else config
    )
