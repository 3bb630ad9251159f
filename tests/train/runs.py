"""Training runs in tests: started, compared and scored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medsam_edge.modality import Modality
from medsam_edge_train import checkpoint
from medsam_edge_train.data.cases import find_cases
from medsam_edge_train.data.datasets import ValidationData
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.models import MedSAM
from medsam_edge_train.stages.fit import FitConfig
from medsam_edge_train.stages.losses import batch_dice

ROOT = Path(__file__).parents[2]


def in_a_process(arguments: list[str], **environment: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(str(ROOT / part) for part in ("sdk", "convert", "train", "benchmarks", "."))
    command = [sys.executable, "-m", "tests.train.tiny", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path, **environment})


def same_weights(first: Path, second: Path, but: str = "nothing", **tolerance: Any) -> None:
    expected, got = checkpoint.read(first).state, checkpoint.read(second).state
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        if but in key:
            continue
        torch.testing.assert_close(got[key], value, msg=lambda text, key=key: f"{key}: {text}", **tolerance)


def curve(config: FitConfig, name: str) -> list[float]:
    """A metric after each epoch, without the value before training."""
    return [value for epoch, value in sorted(read_curves(config.output)[name].items()) if epoch > 0]


def val_scores(config: FitConfig) -> list[float]:
    return curve(config, "val_dsc")


def validation_score(network: MedSAM, config: FitConfig) -> float:
    """The mean over modalities of the mean DSC of all their objects, worked out anew."""
    scores: dict[Modality, list[float]] = {}
    data = ValidationData(find_cases(config.data / "val"), 64, config.val_boxes)
    for sample in (data[index] for index in range(len(data))):
        with torch.no_grad():
            boxes = sample.boxes * 4  # from the 64 to the 256 frame
            logits, _ = network.eval().decode(network.embed(sample.image[None]), boxes)
        scores.setdefault(sample.modality, []).extend(batch_dice(logits, sample.masks).tolist())
    return float(np.mean([np.mean(values) for values in scores.values()]))
