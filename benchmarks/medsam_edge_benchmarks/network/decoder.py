"""How fast boxes are decoded: PyTorch as published, one box at a time, and OpenVINO with and without the cheaper
arithmetic, in one interleaved run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch

from medsam_edge.geometry import Geometry
from medsam_edge.inference.predictor import DECODE_BATCH
from medsam_edge_benchmarks.network.encoder import Timing, summarize, time_in_turns
from medsam_edge_convert.checks import IMAGE_SIZE, REACH
from medsam_edge_convert.export import export_decoder
from medsam_edge_train.models import MedSAM

BASELINE = "PyTorch as published, box by box"
SIDES = 16, 96
"""Boxes are drawn with sides between these, in network pixels."""


def measure_decoder(
    network: MedSAM, boxes: int, rounds: int, num_threads: int, report: Callable[[str], None]
) -> dict[str, Timing]:
    """Milliseconds per box of every variant, each run once a round.

    Args:
        network: as published; not re-parameterized, without class prompts.
        boxes: decoded of one image.
    """
    torch.set_num_threads(num_threads)
    report("preparing: export")
    times = time_in_turns(variants(network, draw_boxes(boxes), num_threads), rounds, report)
    return summarize({name: [ms / boxes for ms in own] for name, own in times.items()}, BASELINE)


def draw_boxes(count: int) -> npt.NDArray[np.float32]:
    """(count, 4) boxes in the square, in network pixels, by size, as the segmenter decodes them; always the same."""
    random = np.random.default_rng(0)
    sides = random.uniform(*SIDES, (count, 2))
    sides = sides[np.argsort(sides.prod(axis=1))]
    low = random.uniform(0, IMAGE_SIZE - sides)
    return np.concatenate([low, low + sides], axis=1).astype(np.float32)


def variants(network: MedSAM, boxes: npt.NDArray[np.float32], num_threads: int) -> dict[str, Callable[[], Any]]:
    """The same decoder, each a function that decodes all boxes of one image."""
    cheap = copy.deepcopy(network).reparameterize()
    config = {"INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    published = ov.compile_model(export_decoder(network, IMAGE_SIZE), "CPU", config)
    exact = ov.compile_model(export_decoder(cheap, IMAGE_SIZE), "CPU", config)
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

    return {
        BASELINE: eager(network),
        "PyTorch re-parameterized, box by box": eager(cheap),
        "OpenVINO f32 as published, box by box": engine(published, 1, IMAGE_SIZE),
        f"OpenVINO f32 as published, {DECODE_BATCH} boxes a call": engine(published, DECODE_BATCH, IMAGE_SIZE),
        f"OpenVINO f32 re-parameterized, {DECODE_BATCH} boxes a call": engine(exact, DECODE_BATCH, IMAGE_SIZE),
        f"the same, only where a mask within {REACH} pixels of its box can be": engine(exact, DECODE_BATCH, REACH),
    }
