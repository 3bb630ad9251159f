"""`medsam-edge train STAGE`: a stage is a settings dataclass, from which its options follow, and a function."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from medsam_edge_train.options import add_options, make_config
from medsam_edge_train.presets import PRESETS


class Stage(NamedTuple):
    """A stage by the names of its parts; only the one that runs is imported.

    Attributes:
        trains: takes `--resume` and `--dry-run`; others take what they report progress to.
    """

    module: str
    config: str
    function: str
    text: str
    trains: bool = False


STAGES = {
    "phantoms": Stage("phantoms", "PhantomConfig", "write_phantoms", "write synthetic images with masks to train on"),
    "prepare": Stage("prepare.prepare", "PrepareConfig", "prepare", "turn labelled images and volumes into shards"),
    "embed": Stage("embed", "EmbedConfig", "embed", "compute a teacher's embeddings once per image"),
    "distill": Stage("distill", "DistillConfig", "distill", "train the image encoder on a teacher's embeddings", True),
    "fit": Stage("fit", "FitConfig", "fit", "train the whole pipeline on images, masks and boxes made of masks", True),
    "finetune": Stage("fit", "FitConfig", "finetune", "fit, from a trained network", True),
}


def run(argv: list[str]) -> int:
    """Parse and run a stage; returns the exit code, raises the stage's errors."""
    parser = argparse.ArgumentParser(prog="medsam-edge train", description="Train a network.")
    commands = parser.add_subparsers(dest="stage", title="stages", required=True, metavar="STAGE")
    for name, stage in STAGES.items():
        command = commands.add_parser(name, help=stage.text, description=f"{stage.text[0].upper()}{stage.text[1:]}.")
        if argv[:1] == [name]:
            module = import_module(f"medsam_edge_train.{stage.module}")
            add_options(command, getattr(module, stage.config), PRESETS.get(name, {}))
            if stage.trains:
                command.add_argument("--resume", action="store_true", help="continue the run in the output folder")
                command.add_argument("--dry-run", action="store_true", help="print the plan and its cost, and stop")
    _add_export(commands)
    options = vars(parser.parse_args(argv))
    name = options.pop("stage")
    if name == "export":
        return _export(**options)
    if name == "finetune" and options.get("qat"):
        options["preset"] = options["preset"] or "qat"
    stage, resume, dry_run = STAGES[name], options.pop("resume", False), options.pop("dry_run", False)
    module = import_module(f"medsam_edge_train.{stage.module}")
    config = make_config(getattr(module, stage.config), options, PRESETS.get(name, {}), options.get("config"))
    if dry_run:
        print(import_module("medsam_edge_train.plan").plan(config))
    else:
        made = getattr(module, stage.function)(config, resume if stage.trains else _report)
        print(made) if made is not None else _report("the time is up; --resume goes on from here")
    return 0


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "write a checkpoint in a published layout (.pth)"
    command = commands.add_parser("export", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("checkpoint", type=Path, help="safetensors, or any layout that can be read")
    command.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    command.add_argument("--layout", default="flat", help="flat, wrapped or module; default: flat")
    command.add_argument("--architecture", help="default: recognised from the tensors")


def _export(checkpoint: Path, output: Path, layout: str, architecture: str | None) -> int:
    from medsam_edge_train.checkpoint import export

    export(checkpoint, output, layout, architecture)
    print(output)
    return 0


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
