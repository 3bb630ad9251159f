"""`medsam-edge info`: print versions, devices, CPU features and the model."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from medsam_edge.cli.segment import make_segmenter
from medsam_edge.errors import InputError
from medsam_edge.networks.bundle import packaged_bundle
from medsam_edge.version import __version__


def show_info(options: argparse.Namespace) -> int:
    """Print the facts, as JSON or one per line; returns the exit code."""
    from medsam_edge.networks import engine

    model = make_segmenter(options).model
    if model.bundle is None:
        raise InputError("bundle: expected a model from a folder")
    manifest = model.bundle.manifest
    facts: dict[str, Any] = {
        "medsam-edge": __version__,
        "python": platform.python_version(),
        "openvino": engine.version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "platform": platform.platform(),
        "cpu features": cpu_features(),
        "devices": engine.devices(),
        "model": str(model.bundle.path),
        "packaged": model.bundle.path == packaged_bundle(),
        "architecture": manifest.architecture,
        "image size": manifest.image_size,
        "class prompts": list(manifest.classes),
        "weights": {"encoder": manifest.encoder_precision, "decoder": manifest.decoder_precision},
        "floating point": {"encoder": model.encoder.effective_precision, "decoder": model.decoder.effective_precision},
        "compiled models": str(options.cache_dir) if options.cache_dir else "not kept (--cache-dir)",
    }
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        print("\n".join(f"{name:16} {_plain(value)}" for name, value in facts.items()))
    return 0


def cpu_features() -> list[str]:
    """Return the vector extensions that decide inference speed, as Linux reports them; elsewhere none."""
    wanted = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp")
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    line = next((row for row in text.splitlines() if row.lower().startswith(("flags", "features"))), "")
    return [flag for flag in wanted if flag in line.split()]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
