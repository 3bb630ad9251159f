"""How fast this machine multiplies and copies, measured, and how much of that the encoder and the decoder reach.

A matrix rate is that of the faster of two graphs, a large matrix product and a large 3×3 convolution, in OpenVINO. The
int8 graphs are quantized as NNCF writes it: FakeQuantize on activations and, per output channel, on weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from medsam_edge.bundle import Bundle
from medsam_edge.model import Model
from medsam_edge_benchmarks.model import PARTS, macs, read_part

PRECISIONS = ("f32", "bf16", "int8")
REPEATS = 7
COPY_BYTES = 256 * 1024**2
NATIVE = {"f32": "FP32", "bf16": "BF16", "int8": "INT8"}
"""OpenVINO's names for what a device computes without converting."""


@dataclass(frozen=True)
class Rate:
    """A precision's matrix rate.

    Attributes:
        gmacs_per_s: thousand millions of multiply-adds a second; None where the machine has no such arithmetic.
        kernel: the implementation that OpenVINO chose for the faster graph; "not native" where there is no rate.
    """

    precision: str
    gmacs_per_s: float | None
    kernel: str


@dataclass(frozen=True)
class Achieved:
    """What one part of the bundle makes of the machine.

    Attributes:
        precision: of the rate it is compared with: int8, or the floating-point type that OpenVINO computes in.
        ms: median milliseconds of an inference, one image or one box.
        share: of that rate, 0..1; None where it was not measured.
    """

    part: str
    precision: str
    gmacs: float
    ms: float
    gmacs_per_s: float
    share: float | None


@dataclass(frozen=True)
class Roofline:
    """Copying counts bytes read and bytes written."""

    rates: tuple[Rate, ...]
    copy_gb_per_s: float
    parts: tuple[Achieved, ...]


def measure(model: Model, bundle: Bundle, threads: int, size: int = 1024) -> Roofline:
    """Measure the machine, then both parts of the bundle on it.

    Args:
        size: of the square matrix product; the convolution is scaled with it.
    """
    core = ov.Core()
    rates = tuple(_rate(core, precision, threads, size) for precision in PRECISIONS)
    by_precision = {rate.precision: rate.gmacs_per_s for rate in rates}
    parts = tuple(_achieved(model, bundle, part, by_precision) for part in PARTS)
    return Roofline(rates, _copy_rate(), parts)


def graphs(size: int, quantized: bool) -> dict[str, ov.Model]:
    """A product of matrices of `size` rows and columns, and a 3×3 convolution of `size` / 4 channels."""
    random = np.random.default_rng(0)
    rows = ops.parameter([size, size], np.float32, name="input")
    square = random.standard_normal((size, size), dtype=np.float32)
    product = ops.matmul(_fake(rows, quantized), _fake_weights(square, quantized), False, False)
    side, channels = size // 16, size // 4
    image = ops.parameter([1, channels, side, side], np.float32, name="input")
    kernel = random.standard_normal((channels, channels, 3, 3), dtype=np.float32)
    strides, pads = [1, 1], [1, 1]
    filtered = ops.convolution(_fake(image, quantized), _fake_weights(kernel, quantized), strides, pads, pads, [1, 1])
    return {"MatMul": ov.Model([product], [rows]), "Convolution": ov.Model([filtered], [image])}


def _fake(activations: ov.Node, quantized: bool) -> ov.Node:
    bounds = (np.float32(-4.0), np.float32(4.0))
    return ops.fake_quantize(activations, *bounds, *bounds, 256) if quantized else activations


def _fake_weights(values: np.ndarray[Any, np.dtype[np.float32]], quantized: bool) -> Any:
    if not quantized:
        return values
    axes = (0,) if values.ndim == 2 else (1, 2, 3)  # a product's outputs are its columns, a convolution's its rows
    high = np.abs(values).max(axis=axes, keepdims=True)
    return ops.fake_quantize(ops.constant(values), -high, high, -high, high, 255)


def _rate(core: ov.Core, precision: str, threads: int, size: int) -> Rate:
    if NATIVE[precision] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return Rate(precision, None, "not native")
    hint = "bf16" if precision == "bf16" else "f32"
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    found = []
    for kind, graph in graphs(size, precision == "int8").items():
        compiled = core.compile_model(graph, "CPU", config)
        request = compiled.create_infer_request()
        values = np.random.default_rng(1).standard_normal(graph.inputs[0].shape, dtype=np.float32)
        seconds = _seconds(lambda request=request, values=values: request.infer({0: values}))  # type: ignore[misc]
        found.append((macs(graph) / seconds / 1e9, f"{kind} {_kernel(compiled)}"))
    return Rate(precision, *max(found))


def _kernel(compiled: ov.CompiledModel) -> str:
    """The implementation of the graph's one heavy node."""
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if str(facts["layerType"].astype(str)) in ("Convolution", "MatMul", "FullyConnected"):
            return str(facts["primitiveType"].astype(str))
    return "unknown"


def _achieved(model: Model, bundle: Bundle, part: str, rates: dict[str, float | None]) -> Achieved:
    network = model.encoder if part == "encoder" else model.decoder
    stored = bundle.manifest.encoder_precision if part == "encoder" else bundle.manifest.decoder_precision
    precision = "int8" if stored == "int8" else network.effective_precision
    inputs = _inputs(model, part)
    seconds = _seconds(lambda: network.infer(inputs))
    gmacs = macs(read_part(ov.Core(), bundle, part, 1)) / 1e9
    rate = rates.get(precision)
    achieved = gmacs / seconds
    return Achieved(part, precision, gmacs, seconds * 1e3, achieved, achieved / rate if rate else None)


def _inputs(model: Model, part: str) -> dict[str, Any]:
    size = model.image_size
    image = {"image": np.random.default_rng(0).random((1, 3, size, size), dtype=np.float32)}
    if part == "encoder":
        return image
    box = np.array([[0.25, 0.25, 0.75, 0.75]], dtype=np.float32) * size
    classes = {"classes": model.one_hot(model.classes[0])} if model.classes else {}
    return {"embedding": model.encoder.infer(image)["embedding"], "boxes": box, **classes}


def _copy_rate() -> float:
    source = np.ones(COPY_BYTES // 8)
    target = np.zeros_like(source)
    return 2 * source.nbytes / _seconds(lambda: np.copyto(target, source)) / 1e9


def _seconds(call: Callable[[], Any]) -> float:
    """Median of `REPEATS`, after two that warm up."""
    times = []
    for _ in range(REPEATS + 2):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))
