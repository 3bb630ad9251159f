"""`medsam-edge train STAGE`: a stage is a settings dataclass, from which its options follow, and a function."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from medsam_edge_train.cli.options import add_options, make_config
from medsam_edge_train.cli.presets import PRESETS
from medsam_edge_train.cli.stages import STAGES


def run(argv: list[str]) -> int:
    """Parse and run a stage; returns the exit code, raises the stage's errors."""
    parser = argparse.ArgumentParser(prog="medsam-edge train", description="Train a network.")
    commands = parser.add_subparsers(dest="stage", title="stages", required=True, metavar="STAGE")
    for name, stage in STAGES.items():
        command = commands.add_parser(name, help=stage.text, description=f"{stage.text[0].upper()}{stage.text[1:]}.")
        if argv[:1] == [name]:
            add_options(command, stage.part(stage.config), PRESETS.get(name, {}))
            if stage.trains:
                command.add_argument("--resume", action="store_true", help="continue the run in the output folder")
                command.add_argument("--dry-run", action="store_true", help="print the plan and its cost, and stop")
    _add_recipe(commands)
    _add_export(commands)
    options = vars(parser.parse_args(argv))
    name = options.pop("stage")
    if name in ("export", "recipe"):
        return _export(**options) if name == "export" else _recipe(**options)
    stage, resume, dry_run = STAGES[name], options.pop("resume", False), options.pop("dry_run", False)
    config = make_config(stage.part(stage.config), options, PRESETS.get(name, {}), options.get("config"))
    if dry_run:
        print(import_module("medsam_edge_train.cli.dry_run").plan(config))
    else:
        made = stage.part(stage.function)(config, resume if stage.trains else _report)
        print(made) if made is not None else _report("the time is up; --resume goes on from here")
    return 0


def _add_recipe(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "run the stages of a recipe, one after the other"
    more = "The same command again goes on where this one ended; when no step is left it prints what the last one made."
    command = commands.add_parser("recipe", help=text, description=f"{text[0].upper()}{text[1:]}. {more}")
    command.add_argument("recipe", type=Path, help="YAML file, such as train/recipes/default.yaml")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with train/ and val/")
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="each step gets a folder in it"
    )
    command.add_argument(
        "--minutes", type=float, default=0.0, metavar="X", help="time for this call; default: no limit"
    )
    command.add_argument(
        "--workers", type=int, metavar="N", help="processes that prepare images, whatever the recipe says"
    )
    command.add_argument(
        "--weights", type=Path, metavar="FILE", help="the recipe's weights, instead of the package's file"
    )


def _recipe(recipe: Path, **options: Any) -> int:
    from medsam_edge_train.cli.recipe import read_recipe, run_recipe

    made = run_recipe(read_recipe(recipe), report=_report, **options)
    if made is not None:
        print(made)
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
