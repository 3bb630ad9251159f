"""How fast this machine multiplies and copies, measured, and how much of that the encoder and the decoder reach.

A matrix rate is that of the faster of two graphs, a large matrix product and a large 3×3 convolution, in OpenVINO. The
int8 graphs are quantized as NNCF writes it: FakeQuantize on activations and, per output channel, on weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from medsam_edge.networks.bundle import Bundle
from medsam_edge.networks.engine import off_main_thread
from medsam_edge.networks.model import Model, Network
from medsam_edge_benchmarks.network.profile import PARTS, macs, prompts, read_part, time_in_turns

Call = Callable[[], Any]
PRECISIONS = ("f32", "bf16", "int8")
REPEATS = 7
COPY_BYTES = 256 * 1024**2
NATIVE = {"f32": "FP32", "bf16": "BF16", "int8": "INT8"}
"""OpenVINO's names for what a device computes without converting."""


@dataclass(frozen=True)
class Rate:
    """A precision's matrix rate."""

    precision: str
    gmacs_per_s: float | None  # thousand millions of multiply-adds; None where the machine has no such arithmetic
    kernel: str  # the implementation that OpenVINO chose for the faster graph; "not native" where there is no rate


@dataclass(frozen=True)
class Achieved:
    """What one part of the bundle makes of the machine."""

    part: str
    precision: str  # of the rate it is compared with: int8, or the floating-point type that OpenVINO computes in
    gmacs: float
    ms: float  # median milliseconds of an inference, one image or one box
    gmacs_per_s: float
    share: float | None  # of that rate, 0..1; None where it was not measured


@dataclass(frozen=True)
class Roofline:
    """Copying counts bytes read and bytes written."""

    rates: tuple[Rate, ...]
    copy_gb_per_s: float
    parts: tuple[Achieved, ...]


def measure_roofline(model: Model, bundle: Bundle, threads: int, size: int = 1024) -> Roofline:
    """Measure the machine and both parts of the bundle on it, all in turns, so that a slow moment slows all.

    `size` is that of the square matrix product; the convolution is scaled with it.
    """
    probes = [own for precision in PRECISIONS for own in _probes(precision, threads, size)]
    networks = dict(zip(PARTS, (model.encoder, model.decoder), strict=True))
    calls: dict[str, Call] = {f"{probe.precision} {probe.name}": probe.call for probe in probes}
    for part, network in networks.items():
        calls[part] = partial(network.infer, _inputs(model, part))
    source = np.ones(COPY_BYTES // 8)
    calls["copy"] = partial(np.copyto, np.zeros_like(source), source)
    seconds = _seconds(calls)
    rates = tuple(_rate(precision, probes, seconds) for precision in PRECISIONS)
    parts = tuple(_achieved(part, own, bundle, seconds[part], rates) for part, own in networks.items())
    return Roofline(rates, 2 * source.nbytes / seconds["copy"] / 1e9, parts)


def graphs(size: int, quantized: bool) -> dict[str, ov.Model]:
    """A product of matrices of `size` rows and columns, and a 3×3 convolution of `size` / 4 channels."""
    random = np.random.default_rng(0)
    side, channels = size // 16, size // 4
    rows = ops.parameter([size, size], np.float32, name="input")
    square: Any = random.standard_normal((size, size), dtype=np.float32)
    image = ops.parameter([1, channels, side, side], np.float32, name="input")
    kernel: Any = random.standard_normal((channels, channels, 3, 3), dtype=np.float32)
    left, filtered = rows, image
    if quantized:
        bounds = (np.float32(-4.0), np.float32(4.0)) * 2
        left, filtered = (ops.fake_quantize(own, *bounds, 256) for own in (rows, image))
        square, kernel = (
            _fake(square, (0,)),
            _fake(kernel, (1, 2, 3)),
        )  # not the outputs' axes: a product's are its columns
    product = ops.matmul(left, square, False, False)
    convolved = ops.convolution(filtered, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    return {"MatMul": ov.Model([product], [rows]), "Convolution": ov.Model([convolved], [image])}


def _fake(values: np.ndarray[Any, np.dtype[np.float32]], axes: tuple[int, ...]) -> ov.Node:
    """Weights quantized per output channel; `axes` are the others."""
    high = np.abs(values).max(axis=axes, keepdims=True)
    return ops.fake_quantize(ops.constant(values), -high, high, -high, high, 255)


@dataclass(frozen=True)
class _Probe:
    """A compiled graph whose speed is a rate."""

    precision: str
    name: str
    gmacs: float
    call: Call


def _probes(precision: str, threads: int, size: int) -> Iterator[_Probe]:
    """Both graphs, where the machine computes in this precision without converting."""
    if NATIVE[precision] not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return
    hint = "bf16" if precision == "bf16" else "f32"
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    for kind, graph in graphs(size, precision == "int8").items():
        compiled = off_main_thread(ov.compile_model, graph, "CPU", config)
        values = np.random.default_rng(1).standard_normal(graph.inputs[0].shape, dtype=np.float32)
        call = partial(compiled.create_infer_request().infer, {0: values})
        yield _Probe(precision, f"{kind} {_kernel(compiled)}", macs(graph) / 1e9, call)


def _kernel(compiled: ov.CompiledModel) -> str:
    """The implementation of the graph's one heavy node."""
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if str(facts["layerType"].astype(str)) in ("Convolution", "MatMul", "FullyConnected"):
            return str(facts["primitiveType"].astype(str))
    return "unknown"


def _rate(precision: str, probes: Sequence[_Probe], seconds: Mapping[str, float]) -> Rate:
    own = [probe for probe in probes if probe.precision == precision]
    if not own:
        return Rate(precision, None, "not native")
    return Rate(precision, *max((probe.gmacs / seconds[f"{precision} {probe.name}"], probe.name) for probe in own))


def _achieved(part: str, network: Network, bundle: Bundle, seconds: float, rates: Sequence[Rate]) -> Achieved:
    manifest = bundle.manifest
    stored = manifest.encoder_precision if part == "encoder" else manifest.decoder_precision
    precision = "int8" if stored == "int8" else network.effective_precision
    gmacs = macs(read_part(bundle, part, 1)) / 1e9
    rate = next((own.gmacs_per_s for own in rates if own.precision == precision), None)
    return Achieved(part, precision, gmacs, seconds * 1e3, gmacs / seconds, gmacs / seconds / rate if rate else None)


def _inputs(model: Model, part: str) -> dict[str, Any]:
    size = model.image_size
    image = {"image": np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)}
    if part == "encoder":
        return image
    classes = {"classes": model.one_hot(model.classes[0])} if model.classes else {}
    return {"embedding": model.encoder.infer(image)["embedding"], **prompts(model, 1), **classes}


def _seconds(calls: Mapping[str, Call]) -> dict[str, float]:
    """Medians of `REPEATS` rounds, after two that warm up."""
    times = time_in_turns(calls, REPEATS, lambda _: None, warm_up=2)
    return {name: float(np.median(own)) / 1e3 for name, own in times.items()}
