"""`medsam-edge train STAGE`: a stage is a settings dataclass, from which its options follow, and a function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclopts import App

from medsam_edge_train.cli.stages import PRESETS, STAGES, Stage
from medsam_edge_train.options import Output, Presets, layers, new_app, run_app, takes


def run(argv: list[str]) -> int:
    """Parse and run a stage; returns the exit code, raises the stage's errors."""
    app = new_app("medsam-edge train", "Train a network.")
    for name, stage in STAGES.items():
        presets = PRESETS.get(name, {})
        if argv[:1] == [name]:  # the settings of the others are not imported
            app.command(_command(stage, presets), name=name, help=stage.text, config=layers(presets))
        else:
            app.command(App(name, stage.text))
    app.command(_recipe, name="recipe")
    app.command(_average, name="average")
    app.command(_export, name="export")
    run_app(app, argv)
    return 0


def _command(stage: Stage, presets: Presets) -> Callable[..., Any]:
    """The stage, told its settings."""

    def make(*, settings: Any, config: Path | None = None) -> None:
        """Make what the stage makes.

        Args:
            config: YAML file of settings; options override it.
        """
        print(stage.run(settings, _report))

    def train(
        *,
        settings: Any,
        preset: str | None = None,
        config: Path | None = None,
        resume: bool = False,
        dry_run: bool = False,
    ) -> None:
        """Train, or say what training takes.

        Args:
            preset: a named protocol; the file and options override it.
            config: YAML file of settings; overrides the preset, options override it.
            resume: continue the run in the output folder.
            dry_run: print the plan and its cost, and stop.
        """
        if dry_run:
            from medsam_edge_train.cli.dry_run import plan
            from medsam_edge_train.stages.fit import check_start

            if stage.function == "finetune":
                check_start(settings)
            print(plan(settings, resume))
        else:
            made = stage.run(settings, resume)
            print(made) if made is not None else _report("the time is up; --resume goes on from here")

    return takes(train if stage.trains else make, stage.config, presets)


def _recipe(
    recipe: Path,
    /,
    *,
    data: Path,
    output: Output,
    minutes: float = 0.0,
    workers: int | None = None,
    weights: Path | None = None,
) -> None:
    """Run the stages of a recipe, one after the other.

    The same command again goes on where this one ended; when no step is left it prints what the last one made.

    Args:
        recipe: YAML file, such as train/recipes/default.yaml.
        data: folder with train/ and val/.
        output: each step gets a folder in it.
        minutes: time for this call; 0 for no limit.
        workers: processes that prepare images, whatever the recipe says.
        weights: the recipe's weights, instead of the package's file.
    """
    from medsam_edge_train.cli.recipe import read_recipe, run_recipe

    made = run_recipe(read_recipe(recipe), data, output, minutes, workers, weights, _report)
    if made is not None:
        print(made)


def _average(
    *checkpoints: Path,
    output: Output,
    shares: tuple[float, ...] = (),
    data: Path | None = None,
    image_size: int = 256,
) -> None:
    """Write the mean of the weights of several trainings, and measure its batch statistics.

    Args:
        checkpoints: one or more of one network.
        output: .safetensors file to write.
        shares: of each checkpoint in the mean; equal if not given.
        data: folder with train/, on whose images batch statistics are measured; else their mean stays.
        image_size: side of the square that an image fills there.
    """
    from medsam_edge_train.stages.average import average

    print(average(checkpoints, output, shares, data, image_size, _report))


def _export(checkpoint: Path, /, *, output: Output, layout: str = "flat", architecture: str | None = None) -> None:
    """Write a checkpoint in a published layout (.pth).

    Args:
        checkpoint: safetensors, or any layout that can be read.
        output: file to write.
        layout: flat, wrapped or module.
        architecture: its network; recognised from the tensors if not given.
    """
    from medsam_edge_train.checkpoint import export

    export(checkpoint, output, layout, architecture)
    print(output)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
