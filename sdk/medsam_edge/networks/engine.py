"""Run a bundle by OpenVINO. No other file imports it; the rest of the sdk sees `model.Network`."""

from __future__ import annotations

import os
import queue
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import openvino as ov

from medsam_edge.errors import BundleError, InputError, warn
from medsam_edge.modality import Modality
from medsam_edge.networks.bundle import Bundle
from medsam_edge.networks.model import Arrays, Model

P = ParamSpec("P")
R = TypeVar("R")
MAXIMUM_THREADS = 1024
CACHE_SUFFIXES = (".blob", ".bin", ".cl_cache")
ov.Type.f32.to_dtype()  # inferences call it; two threads that make its first calls at once wait for each other for ever


@dataclass(frozen=True)
class EngineSettings:
    """How networks are compiled."""

    device: str = "CPU"
    num_threads: int | None = None  # per inference; None lets OpenVINO choose
    cache_dir: Path | None = None  # for compiled models, which make later starts faster
    max_requests: int = 4  # at a time; further callers wait

    def __post_init__(self) -> None:
        if self.num_threads is not None and not 1 <= self.num_threads <= MAXIMUM_THREADS:
            raise InputError(f"num_threads: expected 1 to {MAXIMUM_THREADS} or None, got {self.num_threads}")

    def with_usable_cache(self) -> EngineSettings:
        """Itself, or without a `cache_dir` that cannot be used, with a warning: OpenVINO would end the process."""
        if self.cache_dir is None:
            return self
        try:
            str(self.cache_dir).encode()
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            for file in self.cache_dir.iterdir():
                if file.suffix in CACHE_SUFFIXES and not os.access(file, os.R_OK):
                    raise PermissionError(0, f"{file.name} may not be read")
            with tempfile.TemporaryFile(dir=self.cache_dir):
                return self
        except (OSError, ValueError) as error:  # no UTF-8, or a null character
            return self._without_cache(getattr(error, "strerror", None) or error)

    def _without_cache(self, reason: object) -> EngineSettings:
        warn(f"cache_dir: compiled models are not kept in {str(self.cache_dir)!a:.200}: {reason}")
        return replace(self, cache_dir=None)


class OpenVinoNetwork:
    """A compiled OpenVINO model with a pool of infer requests."""

    def __init__(self, core: ov.Core, xml: bytes, weights: bytes, precision: str, settings: EngineSettings) -> None:
        """`precision` is that of the weights in the manifest; `f32` is computed in f32 even if the CPU prefers bf16."""
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if settings.num_threads is not None:
            config["INFERENCE_NUM_THREADS"] = int(settings.num_threads)  # OpenVINO takes no numpy integers
        if settings.cache_dir is not None:
            config["CACHE_DIR"] = str(settings.cache_dir)
        if precision == "f32":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        try:  # from memory, where a cached compiled model saves the parsing
            self._compiled = core.compile_model(xml.decode(), settings.device, config, weights=weights)
        except (RuntimeError, UnicodeDecodeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"bundle: OpenVINO cannot compile it for {settings.device}: {reason}") from error
        self.inputs = {name for port in self._compiled.inputs for name in port.names}
        self._names = [output.any_name for output in self._compiled.outputs]
        self._pool: queue.LifoQueue[ov.InferRequest] = queue.LifoQueue()
        for _ in range(settings.max_requests):
            self._pool.put(self._compiled.create_infer_request())

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        request = self._pool.get()
        try:
            request.infer(dict(inputs), share_inputs=True)
            return {name: np.array(request.get_tensor(name).data) for name in self._names}
        finally:
            self._pool.put(request)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of an input or output; None if no port has that name, or its shape is dynamic."""
        for port in (*self._compiled.inputs, *self._compiled.outputs):
            if name in port.names and port.partial_shape.is_static:
                return tuple(port.shape)
        return None

    def setting(self, name: str) -> str:
        """Return a property of the compiled model by OpenVINO's name, such as NUM_STREAMS."""
        return str(self._compiled.get_property(name))

    @property
    def effective_precision(self) -> str:
        return str(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())


def load_model(bundle: Bundle, settings: EngineSettings) -> Model:
    """Compile a verified bundle; BundleError if that fails, or if its prompts differ from those of the manifest."""
    manifest = bundle.manifest
    if _release(version()) < _release(manifest.openvino):
        raise BundleError(f"bundle: needs OpenVINO {manifest.openvino} or newer, this is {version()}")
    core, settings = ov.Core(), settings.with_usable_cache()
    classes = tuple(Modality(name) for name in manifest.classes)

    def load(part: str, precision: str, class_port: str) -> OpenVinoNetwork:
        xml, weights = bundle.contents[f"{part}.xml"], bundle.contents[f"{part}.bin"]
        network = OpenVinoNetwork(core, xml, weights, precision, settings)
        expected, shape = (1, len(classes)) if classes else None, network.shape(class_port)
        if shape != expected:
            raise BundleError(
                f"bundle: the manifest has {len(classes)} classes: "
                f"expected {class_port} of {part} to be {expected}, got {shape}"
            )
        return network

    with ThreadPoolExecutor(2) as pool:  # OpenVINO compiles without the interpreter's lock
        encoder = pool.submit(load, "encoder", manifest.encoder_precision, "class_scores")
        decoder = pool.submit(load, "decoder", manifest.decoder_precision, "classes")
    networks = encoder.result(), decoder.result()
    takes_more = networks[1].inputs >= {"points", "point_labels", "prior", "has_prior"}
    if takes_more is not (len(manifest.prompts) > 1):
        more = "points and masks" if takes_more else "boxes alone"
        raise BundleError(
            f"bundle: the manifest has prompts {', '.join(manifest.prompts)}, but the decoder takes {more}"
        )
    return Model(
        *networks,
        manifest.image_size,
        bundle.identity,
        manifest.reach,
        classes,
        bundle,
        manifest.context,
        manifest.prompts,
    )


def _release(text: str) -> tuple[int, ...]:
    """Return year and minor of a version: "2026.4.1-123-abc" → (2026, 4)."""
    return tuple(int(part) for part in text.split("-")[0].split(".")[:2] if part.isdigit())


def off_main_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function that compiles models, in a thread of its own; Ctrl-C takes effect when it has ended.

    OpenVINO's CPU plugin sets the signal stack of the thread that first compiles, once for each `ov.Core`, and when it
    goes it sets the one that was there before: that of another plugin, which may be gone. The next signal of the main
    thread, be it Ctrl-C or the end of a child, would then end the process, for Python's handlers run on that stack.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


def devices() -> dict[str, str]:
    """Return OpenVINO's devices on this machine with their full names."""
    core = ov.Core()
    return {name: str(core.get_property(name, "FULL_DEVICE_NAME")) for name in core.available_devices}


def version() -> str:
    return str(ov.__version__)
