"""`medsam-edge train STAGE`: a stage is a settings dataclass, from which its options follow, and a function."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medsam_edge_train import checkpoint
from medsam_edge_train.distill import DistillConfig, distill
from medsam_edge_train.embed import EmbedConfig, embed
from medsam_edge_train.engine import RunConfig
from medsam_edge_train.fit import FitConfig, finetune, fit
from medsam_edge_train.models import ZOO
from medsam_edge_train.options import add_options, make_config
from medsam_edge_train.phantoms import PhantomConfig, write_phantoms
from medsam_edge_train.plan import plan
from medsam_edge_train.prepare import PrepareConfig, prepare
from medsam_edge_train.presets import PRESETS

PREPARING = {
    "prepare": (PrepareConfig, prepare, "turn labelled images and volumes of any kind into shards to train from"),
    "phantoms": (PhantomConfig, write_phantoms, "write synthetic images with masks, to pre-train on or to try this"),
    "embed": (EmbedConfig, embed, "compute a teacher's embeddings once per image"),
}
TRAINING = {
    "distill": (DistillConfig, distill, "train the image encoder on a teacher's embeddings"),
    "fit": (FitConfig, fit, "train the whole pipeline on images, masks and boxes made from the masks"),
    "finetune": (FitConfig, finetune, "fit, from a trained network"),
}


def run(argv: list[str]) -> int:
    """Parse and run a stage; returns the exit code, raises the stage's errors."""
    parser = argparse.ArgumentParser(prog="medsam-edge train", description="Train a network.")
    commands = parser.add_subparsers(dest="stage", title="stages", required=True, metavar="STAGE")
    for name, (config, _, text) in {**PREPARING, **TRAINING}.items():
        stage = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add_options(stage, config, PRESETS.get(name, {}))
        if name in TRAINING:
            stage.add_argument("--resume", action="store_true", help="continue the run in the output folder")
            stage.add_argument("--dry-run", action="store_true", help="print the plan and its cost, and stop")
    text = "write a checkpoint in a published layout (.pth)"
    stage = commands.add_parser("export", help=text, description=f"{text[0].upper()}{text[1:]}.")
    stage.add_argument("checkpoint", type=Path, help="safetensors, or any layout that can be read")
    stage.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    stage.add_argument("--layout", choices=checkpoint.LAYOUTS, default="flat", help="default: flat")
    stage.add_argument("--architecture", choices=sorted(ZOO), help="default: recognised from the tensors")
    options = vars(parser.parse_args(argv))
    name = options.pop("stage")
    if name == "export":
        checkpoint.export(options["checkpoint"], options["output"], options["layout"], options["architecture"])
        print(options["output"])
        return 0
    resume, dry_run = options.pop("resume", False), options.pop("dry_run", False)
    presets, yaml_file = PRESETS.get(name, {}), options.get("config")
    if name in PREPARING:
        config, make, _ = PREPARING[name]
        print(make(make_config(config, options, presets, yaml_file), _report))  # type: ignore[operator]
        return 0
    config, train, _ = TRAINING[name]
    settings: RunConfig = make_config(config, options, presets, yaml_file)
    print(plan(settings) if dry_run else train(settings, resume))  # type: ignore[operator]
    return 0


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
