"""What a bundle is made of and where its time goes: parameters, bytes, arithmetic, and OpenVINO's own time per node."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from medsam_edge.errors import InputError
from medsam_edge.geometry import CELL, Geometry, window_groups
from medsam_edge.networks.bundle import Bundle, Manifest
from medsam_edge.networks.engine import off_main_thread
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
    """One of a bundle's two models."""

    part: str
    parameters: int  # numbers stored, scales and zero points of quantization included
    megabytes: float  # of its files
    gmacs: float  # thousand millions of multiply-adds of convolutions and matrix products, per inference
    ms: float  # sum of the nodes' medians
    layers: Sequence[Layer]  # the slowest first


def profile(bundle: Bundle, boxes: int = 1, rounds: int = 10, num_threads: int | None = None) -> list[PartProfile]:
    """Run both parts, the decoder on `boxes` at once, with OpenVINO's counters on."""
    if boxes < 1 or rounds < 1:
        raise InputError(f"boxes, rounds: expected positive numbers, got {boxes}, {rounds}")
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    if num_threads is not None:
        config["INFERENCE_NUM_THREADS"] = num_threads
    asked = prompts(bundle.manifest, boxes)
    profiles = []
    for part in PARTS:
        model = read_part(bundle, part, boxes)
        constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
        parameters = sum(math.prod(node.get_output_shape(0)) for node in constants)
        layers = _time(off_main_thread(ov.compile_model, model, "CPU", config), asked, rounds)
        total = sum(layer.ms for layer in layers)
        stored = sum(len(bundle.contents[f"{part}{suffix}"]) for suffix in (".xml", ".bin"))
        profiles.append(PartProfile(part, parameters, stored / 1e6, macs(model) / 1e9, total, layers))
    return profiles


def read_part(bundle: Bundle, part: str, boxes: int) -> ov.Model:
    """One of `PARTS` as stored, its shapes fixed to those of `prompts`."""
    model = ov.Core().read_model(model=bundle.contents[f"{part}.xml"], weights=bundle.contents[f"{part}.bin"])
    if part == "decoder":
        model.reshape({name: list(array.shape) for name, array in prompts(bundle.manifest, boxes).items()})
    return model


def prompts(model: Manifest | Model, boxes: int) -> dict[str, npt.NDArray[Any]]:
    """What a decoder is asked for here: boxes (N, 4), a quarter of the square wide and high, and their cells (N, K)."""
    size = model.image_size
    asked = np.tile(np.array([0.375, 0.375, 0.625, 0.625], dtype=np.float32) * size, (boxes, 1))
    inputs: dict[str, npt.NDArray[Any]] = {"boxes": asked}
    if len(model.prompts) > 1:  # neither clicks nor masks
        corners, labels = asked.reshape(-1, 2, 2), np.array([[2, 3]] * boxes)
        none = np.zeros((boxes, 1, CELL, CELL), np.float32), np.zeros(boxes, np.float32)
        inputs |= {"points": corners, "point_labels": labels, "prior": none[0], "has_prior": none[1]}
    if model.context is None:
        return {**inputs, "cells": Geometry(size, size, size).windows(asked, model.reach).cells}
    ((_, windows),) = window_groups(asked, model.context, size // CELL)
    return {**inputs, "cells": windows.cells}


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
    medians = sorted(((float(np.median(own)), name) for name, own in times.items()), key=lambda own: -own[0])
    return [Layer(name, nodes[name].node_type, nodes[name].exec_type, ms) for ms, name in medians]


def time_in_turns(
    calls: Mapping[str, Callable[[], Any]], rounds: int, report: Callable[[str], None], warm_up: int = 1
) -> dict[str, list[float]]:
    """Milliseconds of each call, each made once a round; `warm_up` rounds come before."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(1 - warm_up, rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number > 0:
                times[name].append((time.perf_counter() - start) * 1e3)
        report(f"round {number}/{rounds}")
    return times


def as_table(profiles: Sequence[PartProfile], count: int) -> str:
    """The parts, the time by kind of node, and the slowest nodes of each."""
    lines = []
    for own in profiles:
        rate = own.gmacs / own.ms * 1e3 if own.ms else 0.0
        lines.append(
            f"{own.part}: {own.parameters:,} parameters, {own.megabytes:.1f} MB, {own.gmacs:.2f} GMAC, "
            f"{own.ms:.1f} ms in nodes, {rate:.0f} GMAC/s"
        )
        kinds: dict[str, float] = {}
        for layer in own.layers:
            kind = f"{layer.kind} ({layer.kernel})"
            kinds[kind] = kinds.get(kind, 0.0) + layer.ms
        slowest = sorted(kinds.items(), key=lambda item: -item[1])[:count]
        lines += [f"  {ms:8.2f} ms {ms / own.ms:6.1%}  {kind}" for kind, ms in slowest]
        lines.append("  slowest nodes")
        lines += [f"  {layer.ms:8.2f} ms {layer.ms / own.ms:6.1%}  {layer.name}" for layer in own.layers[:count]]
    return "\n".join(lines)
