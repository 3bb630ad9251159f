"""A network, data and settings small enough to train in a test, also from a subprocess."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from medsam_edge_train.loop.module import StageModule
from medsam_edge_train.models import ZOO, MedSAM
from medsam_edge_train.models.layers import ConvBN
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from medsam_edge_train.models.repvit import RepViTBlock
from medsam_edge_train.stages.fit import FitConfig, fit


def tiny() -> MedSAM:
    """One convolution and a narrow decoder: a training step takes milliseconds."""
    encoder = nn.Sequential(nn.Conv2d(3, 32, 4, 4), nn.BatchNorm2d(32))
    return MedSAM(encoder, PromptEncoder(32, 4), MaskDecoder(32, depth=1, heads=2, hidden=32, box_prior=True))


def tiny_no_norm() -> MedSAM:
    """Without batch statistics, which a CPU cannot share between processes."""
    encoder = nn.Conv2d(3, 32, 4, 4)
    return MedSAM(encoder, PromptEncoder(32, 4), MaskDecoder(32, depth=1, heads=2, hidden=32, box_prior=True))


def tiny_rep() -> MedSAM:
    """Two RepViT blocks, with everything that int8 rounds."""
    encoder = nn.Sequential(
        ConvBN(3, 16, 3, 2),
        nn.ReLU(),
        RepViTBlock(16, 16, 1, True, nn.ReLU),
        RepViTBlock(16, 32, 2, False, nn.ReLU),
    )
    return MedSAM(encoder, PromptEncoder(32, 4), MaskDecoder(32, depth=1, heads=2, hidden=32, box_prior=True))


def write_data(root: Path) -> Path:
    """Bright rectangles of two modalities, one of them in colour; five to train on and three to validate."""
    rng = np.random.default_rng(0)
    for part, modality, index in [*itertools.product(["train", "val"], ["CT", "Fundus"], range(2)), ("train", "CT", 2)]:
        image, mask = rng.integers(0, 60, (48, 64)).astype(np.uint8), np.zeros((48, 64), dtype=np.uint8)
        for value, left in ((1, 4), (2, 36)):
            top, height, width = rng.integers(4, 14), rng.integers(14, 28), rng.integers(14, 24)
            mask[top : top + height, left : left + width] = value
            image[top : top + height, left : left + width] += 150
        if modality == "Fundus":
            image = np.stack([image // 3, image // 2, image], axis=-1)
        for kind, data in (("images", image), ("masks", mask)):
            path = root / part / modality / "phantom" / kind / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), data)
    (root / "val/Fundus/phantom/images/1.png").unlink()
    return root


def tiny_config(data: Path, output: Path, **settings: Any) -> FitConfig:
    """Two epochs of four steps."""
    values: dict[str, Any] = {
        "architecture": "tiny",
        "image_size": 64,
        "epochs": 2,
        "images_per_epoch": 8,
        "batch_size": 2,
        "boxes_per_image": 2,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "ema": 0.5,
        "workers": 0,
        "precision": "32-true",
    }
    return FitConfig(data, output, **{**values, **settings})


def main(data: str, output: str, kill_at: str, *settings: str) -> None:
    """Train in a process of its own, resuming what is there, and die without warning after so many steps (0: never),
    before what is next: a step, or the validation."""
    import torch

    torch.set_num_threads(1)
    ZOO.update(tiny=tiny, tiny_no_norm=tiny_no_norm, tiny_rep=tiny_rep)

    def die(self: StageModule, *_: Any) -> None:
        if self.global_step == int(kill_at) > 0:
            os.kill(os.getpid(), signal.SIGKILL)

    StageModule.on_train_batch_start = StageModule.on_validation_start = die  # type: ignore[assignment]
    values = {name: eval(value) for name, value in (setting.split("=") for setting in settings)}  # noqa: S307
    fit(tiny_config(Path(data), Path(output), **values), resume=Path(output, "last.ckpt").exists())


if __name__ == "__main__":
    main(*sys.argv[1:])
