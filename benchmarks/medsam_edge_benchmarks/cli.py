"""`medsam-edge bench SUITE`: a suite is a settings dataclass, from which its options follow, and a function."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, get_type_hints

from cyclopts import App

from medsam_edge.errors import MedsamEdgeError
from medsam_edge_benchmarks.report.output import write_json
from medsam_edge_train.options import layers, new_app, run_app, takes

SUITES = {
    "latency": ("latency.command", "The papers' cases, file to mask, beside the published scripts in PyTorch."),
    "compare": ("latency.command", "What became slower between two runs of latency; exit code 1 if anything did."),
    "encoder": ("network.command", "One slice through the encoder: PyTorch, fused, OpenVINO f32 and int8."),
    "decoder": ("network.command", "Boxes of one image: PyTorch as published, and OpenVINO."),
    "throughput": ("throughput.command", "Images a second by workers and threads, and the options for this machine."),
    "scale": ("throughput.scale", "Time and cost of many images on many machines, simulated from measured rates."),
    "accuracy": ("accuracy.command", "DSC and NSD on images and volumes with labels, beside the ellipse and GrabCut."),
    "chain": ("chain", "Prepare, embed, distill, fit, finetune, convert and segment on a little data."),
    "model": ("network.command", "Parameters, bytes, arithmetic and time per node of a bundle."),
}
"""By name: the module that has the suite's function, `bench_NAME`, and what the suite does."""


def run(argv: list[str]) -> int:
    """Parse and measure; returns the exit code, raises the suite's errors."""
    app = new_app("medsam-edge bench", "Measure latency and accuracy.")
    for name, (module_name, text) in SUITES.items():
        if argv[:1] == [name]:  # the other suites are not imported
            module = import_module(f"medsam_edge_benchmarks.{module_name}")
            command = _command(getattr(module, f"bench_{name}"))
            app.command(command, name=name, help=text, config=layers(getattr(module, "PRESETS", {})))
        else:
            app.command(App(name, text))
    run_app(app, argv)
    return 0


def _command(measure: Callable[..., dict[str, Any]]) -> Callable[..., None]:
    """The suite, told its settings, with its figures in a file where one is wanted."""

    def command(settings: Any) -> None:
        figures = measure(settings)
        if settings.json:
            write_json(settings.json, figures)
        if failed := figures.get("failed"):
            raise MedsamEdgeError(failed)

    return takes(command, get_type_hints(measure)["settings"])
