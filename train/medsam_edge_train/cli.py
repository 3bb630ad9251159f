"""`medsam-edge train fit`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from medsam_edge_train.fit import PRECISIONS, FitConfig, fit
from medsam_edge_train.models import ZOO

DEFAULTS = FitConfig(data=Path(), output=Path())


def run(argv: list[str]) -> int:
    """Parse and train; returns the exit code, raises the errors of `fit`."""
    parser = argparse.ArgumentParser(prog="medsam-edge train", description="Train a network.")
    commands = parser.add_subparsers(title="stages", required=True, metavar="STAGE")
    stage = commands.add_parser(
        "fit",
        help="train the whole pipeline on images, masks and boxes made from the masks",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    stage.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    stage.add_argument("-o", "--output", type=Path, required=True, help="folder for logs and checkpoints")
    stage.add_argument("--architecture", choices=sorted(ZOO), default=DEFAULTS.architecture, help="network")
    stage.add_argument("--init", type=Path, help="checkpoint to start from")
    stage.add_argument("--resume", action="store_true", help="continue the run in the output folder")
    _setting(stage, "image_size", "side of the training square, a multiple of 64")
    _setting(stage, "epochs", "number of epochs")
    _setting(stage, "images_per_epoch", "draws per epoch")
    _setting(stage, "batch_size", "images per step")
    _setting(stage, "boxes_per_image", "most objects per image")
    _setting(stage, "learning_rate", "after the warm-up")
    _setting(stage, "warmup_steps", "steps of linear warm-up")
    stage.add_argument("--schedule", choices=("cosine", "constant"), default=DEFAULTS.schedule, help="of the rate")
    _setting(stage, "withhold_modality", "class prompts: share of images whose modality is not told")
    _setting(stage, "balance", "0: modalities equally often, 1: images equally often")
    _setting(stage, "ema", "decay of the averaged weights, 0 for none")
    _setting(stage, "val_per_modality", "validation images per modality")
    _setting(stage, "workers", "processes that prepare images")
    stage.add_argument(
        "--precision", choices=PRECISIONS, default=DEFAULTS.precision, help="auto: bf16 where it is fast"
    )
    _setting(stage, "seed", "of draws and augmentation")
    options = vars(parser.parse_args(argv))
    resume = options.pop("resume")
    print(fit(FitConfig(**options), resume))
    return 0


def _setting(parser: argparse.ArgumentParser, name: str, text: str) -> None:
    """An option for a field of `FitConfig`, of its type and with its default."""
    default: Any = getattr(DEFAULTS, name)
    parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=text)
