"""What a figure depends on besides the code: processor, threads, precision, versions."""

from __future__ import annotations

import platform
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import torch

import medsam_edge
from medsam_edge.cli.info import cpu_features
from medsam_edge.networks.engine import OpenVinoNetwork
from medsam_edge.networks.model import Model, Network

SETTINGS = ("PERFORMANCE_HINT", "NUM_STREAMS", "INFERENCE_NUM_THREADS")


def describe(model: Model, threads: int) -> dict[str, str]:
    """Facts by name, for people.

    Args:
        threads: as set for PyTorch and OpenCV; OpenVINO says its own.
    """
    return {
        "processor": cpu_model(),
        "vector extensions": " ".join(cpu_features()) or "not reported",
        "system": platform.platform(),
        "threads": f"{threads} for PyTorch, OpenCV and OpenVINO",
        "encoder": _engine(model.encoder),
        "decoder": _engine(model.decoder),
        "model": f"{model.bundle.manifest.architecture}, {model.identity[:12]}" if model.bundle else model.identity,
        "medsam-edge": medsam_edge.__version__,
        "OpenVINO": str(ov.__version__),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
        "Python": platform.python_version(),
    }


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.lower().startswith("model name")]
    return f"{names[0]}, {len(names)} logical" if names else platform.processor() or platform.machine()


def _engine(network: Network) -> str:
    own = f"floating point in {network.effective_precision}"
    if isinstance(network, OpenVinoNetwork):
        own += "".join(f", {name} {network.setting(name)}" for name in SETTINGS)
    return own
