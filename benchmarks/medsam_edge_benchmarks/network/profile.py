"""What a bundle is made of and where its time goes: parameters, bytes, arithmetic, and OpenVINO's own time per node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from medsam_edge.errors import InputError
from medsam_edge.geometry import CELL, Geometry, window_groups
from medsam_edge.networks.bundle import Bundle, Manifest
from medsam_edge.networks.model import Model

PARTS = ("encoder", "decoder")


@dataclass(frozen=True)
class Layer:
    """A node of the compiled model; `kernel` is the implementation and precision that OpenVINO chose."""

    name: str
    kind: str
    kernel: str
    ms: float


@dataclass(frozen=True)
class PartProfile:
    """One of a bundle's two models.

    Attributes:
        parameters: numbers stored, scales and zero points of quantization included.
        megabytes: of its files.
        gmacs: thousand millions of multiply-adds of convolutions and matrix products, per inference.
        ms: sum of the nodes' medians.
        layers: the slowest first.
    """

    part: str
    parameters: int
    megabytes: float
    gmacs: float
    ms: float
    layers: Sequence[Layer]


def profile(bundle: Bundle, boxes: int = 1, rounds: int = 10, num_threads: int | None = None) -> list[PartProfile]:
    """Run both parts with OpenVINO's counters on.

    Args:
        boxes: decoded at once.

    Raises:
        InputError: boxes or rounds below 1.
    """
    if boxes < 1 or rounds < 1:
        raise InputError(f"boxes, rounds: expected positive numbers, got {boxes}, {rounds}")
    core = ov.Core()
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    if num_threads is not None:
        config["INFERENCE_NUM_THREADS"] = num_threads
    asked = prompts(bundle.manifest, boxes)
    profiles = []
    for part in PARTS:
        model = read_part(core, bundle, part, boxes)
        constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
        parameters = sum(math.prod(node.get_output_shape(0)) for node in constants)
        layers = _time(core.compile_model(model, "CPU", config), asked, rounds)
        total = sum(layer.ms for layer in layers)
        stored = sum(len(bundle.contents[f"{part}{suffix}"]) for suffix in (".xml", ".bin"))
        profiles.append(PartProfile(part, parameters, stored / 1e6, macs(model) / 1e9, total, layers))
    return profiles


def read_part(core: ov.Core, bundle: Bundle, part: str, boxes: int) -> ov.Model:
    """One of `PARTS` as stored, its shapes fixed to those of `prompts`."""
    model = core.read_model(model=bundle.contents[f"{part}.xml"], weights=bundle.contents[f"{part}.bin"])
    if part == "decoder":
        asked = prompts(bundle.manifest, boxes)
        model.reshape({name: list(array.shape) for name, array in asked.items()})
    return model


def prompts(model: Manifest | Model, boxes: int) -> dict[str, npt.NDArray[Any]]:
    """What a decoder is asked for here: boxes (N, 4), a quarter of the square wide and high, and their cells (N, K)."""
    size = model.image_size
    asked = np.tile(np.array([0.375, 0.375, 0.625, 0.625], dtype=np.float32) * size, (boxes, 1))
    if model.context is None:
        return {"boxes": asked, "cells": Geometry(size, size, size).windows(asked, model.reach).cells}
    ((_, windows),) = window_groups(asked, model.context, size // CELL)
    return {"boxes": asked, "cells": windows.cells}


def macs(model: ov.Model) -> int:
    """Multiply-adds of a model of static shapes: convolutions, plain, grouped and transposed, and matrix products."""
    total = 0
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind in ("Convolution", "GroupConvolution"):  # every output needs a window of its group's channels
            window = list(node.input(1).get_shape())[2 if kind == "GroupConvolution" else 1 :]
            total += math.prod(node.get_output_shape(0)) * math.prod(window)
        elif kind == "ConvolutionBackpropData":  # every input reaches a window of all outputs
            total += math.prod(node.input(0).get_shape()) * math.prod(list(node.input(1).get_shape())[1:])
        elif kind == "MatMul":
            shared = list(node.input(0).get_shape())[-2 if node.get_attributes()["transpose_a"] else -1]
            total += math.prod(node.get_output_shape(0)) * shared
    return total


def _time(compiled: ov.CompiledModel, asked: dict[str, npt.NDArray[Any]], rounds: int) -> list[Layer]:
    request = compiled.create_infer_request()
    random = np.random.default_rng(0)
    inputs = {
        port.any_name: random.random(tuple(port.shape)).astype(port.get_element_type().to_dtype())
        for port in compiled.inputs
    }
    inputs.update({name: array for name, array in asked.items() if name in inputs})
    times: dict[str, list[float]] = {}
    nodes: dict[str, Any] = {}
    for number in range(rounds + 1):
        request.infer(inputs)
        for entry in request.profiling_info if number else []:  # the first run warms up
            if entry.status == ov.ProfilingInfo.Status.EXECUTED:
                times.setdefault(entry.node_name, []).append(entry.real_time.total_seconds() * 1e3)
                nodes[entry.node_name] = entry
    layers = [
        Layer(name, nodes[name].node_type, nodes[name].exec_type, float(np.median(own))) for name, own in times.items()
    ]
    return sorted(layers, key=lambda layer: -layer.ms)


def as_table(profiles: Sequence[PartProfile], count: int) -> str:
    """The parts, the time by kind of node, and the slowest nodes of each."""
    lines = []
    for own in profiles:
        rate = own.gmacs / own.ms * 1e3 if own.ms else 0.0
        lines.append(
            f"{own.part}: {own.parameters:,} parameters, {own.megabytes:.1f} MB, {own.gmacs:.2f} GMAC, "
            f"{own.ms:.1f} ms in nodes, {rate:.0f} GMAC/s"
        )
        kinds: dict[tuple[str, str], float] = {}
        for layer in own.layers:
            key = (layer.kind, layer.kernel)
            kinds[key] = kinds.get(key, 0.0) + layer.ms
        for (kind, kernel), ms in sorted(kinds.items(), key=lambda item: -item[1])[:count]:
            lines.append(f"  {ms:8.2f} ms {ms / own.ms:6.1%}  {kind} ({kernel})")
        lines.append("  slowest nodes")
        lines += [f"  {layer.ms:8.2f} ms {layer.ms / own.ms:6.1%}  {layer.name}" for layer in own.layers[:count]]
    return "\n".join(lines)
