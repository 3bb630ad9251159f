from __future__ import annotations

import itertools
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medsam_edge_train import checkpoint
from medsam_edge_train.data.datasets import Sample
from medsam_edge_train.loop.callbacks import Interrupt, KeepLast
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.models import MedSAM
from medsam_edge_train.stages.fit import FitConfig, PipelineModule, fit
from tests.train.runs import same_weights, val_scores, validation_score
from tests.train.tiny import tiny, tiny_config

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture(scope="module")
def config(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FitConfig:
    """The settings of a run of two epochs that has been made."""
    config = tiny_config(data, tmp_path_factory.mktemp("runs") / "new" / "run")
    assert fit(config) == config.output / "best.safetensors"
    return config


def test_the_best_checkpoint_names_its_architecture_score_epoch_and_step(config: FitConfig) -> None:
    loaded, name = checkpoint.load(config.output / "best.safetensors")
    assert name == "tiny"
    assert isinstance(loaded, MedSAM)
    metadata = checkpoint.read(config.output / "best.safetensors").metadata
    assert float(metadata["val_dsc"]) == pytest.approx(max(val_scores(config)), abs=1e-4)
    assert (metadata["epoch"], metadata["step"]) in {("0", "4"), ("1", "8")}


@pytest.mark.parametrize("ema", [0.5, 0.0])
def test_the_best_checkpoint_holds_the_weights_that_were_validated(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    validated: dict[str, dict[str, torch.Tensor]] = {}
    step = PipelineModule.validation_step

    def spy(self: PipelineModule, batch: list[tuple[Sample, int]], index: int) -> None:
        state = self.network.state_dict()
        validated[str(self.current_epoch)] = {key: value.clone() for key, value in state.items()}
        step(self, batch, index)

    monkeypatch.setattr(PipelineModule, "validation_step", spy)
    config = replace(tiny_config(data, tmp_path / "run"), ema=ema)
    best = checkpoint.read(fit(config))
    for key, value in validated[best.metadata["epoch"]].items():
        torch.testing.assert_close(best.state[key], value, rtol=0, atol=0, msg=key)
    loaded, _ = checkpoint.load(config.output / "best.safetensors")
    assert validation_score(loaded, config) == pytest.approx(float(best.metadata["val_dsc"]), abs=1e-4)


def test_the_last_checkpoint_loads_as_the_averaged_network(config: FitConfig) -> None:
    last, name = checkpoint.load(config.output / "last.ckpt")
    assert name == "tiny"
    assert validation_score(last, config) == pytest.approx(val_scores(config)[-1], abs=2e-4)


def test_without_ema_the_trained_weights_are_saved(data: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(data, tmp_path / "run"), ema=0.0, epochs=1)
    best = fit(config)
    last = torch.load(config.output / "last.ckpt", weights_only=True)
    assert "averaging_state" not in last
    loaded, _ = checkpoint.load(best)
    assert validation_score(loaded, config) == pytest.approx(val_scores(config)[0], abs=2e-4)


def test_a_worse_epoch_after_resuming_does_not_replace_the_best(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny_config(data, tmp_path / "run"), schedule="constant", epochs=1)
    before = fit(config).read_bytes()
    monkeypatch.setattr(
        "medsam_edge_train.stages.fit.batch_dice", lambda logits, truth: torch.full((len(logits),), 0.01)
    )
    assert fit(replace(config, epochs=2), resume=True).read_bytes() == before
    assert val_scores(config)[-1] == pytest.approx(0.01)


def test_resuming_a_run_that_stopped_early_trains_no_more(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "medsam_edge_train.stages.fit.batch_dice", lambda logits, truth: torch.full((len(logits),), 0.5)
    )
    config = tiny_config(data, tmp_path / "run", epochs=9, early_stop=2)
    assert fit(config) == fit(config, resume=True) == config.output / "best.safetensors"
    assert sorted(read_curves(config.output)["val_dsc"]) == [0, 1, 2, 3]  # before, the best, and two no better


def tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second each time it is read: as the run starts, after each step, after each epoch."""
    clock = itertools.count()
    monkeypatch.setattr("medsam_edge_train.loop.callbacks.time", SimpleNamespace(monotonic=lambda: next(clock)))


# 8 steps in 2 epochs; the time is up inside the first, at its last step, as it ends, and inside the second
@pytest.mark.parametrize(
    ("seconds", "step", "settings"),
    [
        (3, 3, {}),
        (4, 4, {"ema": 0.0}),
        (5, 4, {"schedule": "plateau", "warmup_steps": 0, "plateau_patience": 0}),
        (7, 6, {"checkpoint_steps": 5}),  # with workers: test_trainer, in processes of its own
    ],
)
def test_a_run_in_limited_time_ends_with_the_weights_of_an_unbroken_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, step: int, settings: dict[str, Any]
) -> None:
    torch.set_num_threads(1)
    whole, parts = tiny_config(data, tmp_path / "whole", **settings), tiny_config(data, tmp_path / "parts", **settings)
    fit(whole)
    tick(monkeypatch)
    assert fit(replace(parts, minutes=seconds / 60)) is None
    assert torch.load(parts.output / "last.ckpt", weights_only=True)["global_step"] == step
    assert (parts.output / "best.safetensors").exists() == (step >= 4)  # no validation but at an epoch's end
    assert fit(replace(parts, minutes=100), resume=True) == parts.output / "best.safetensors"
    same_weights(whole.output / "last.ckpt", parts.output / "last.ckpt", rtol=0, atol=0)
    same_weights(whole.output / "best.safetensors", parts.output / "best.safetensors", rtol=0, atol=0)
    curves = read_curves(whole.output)
    for name in ("train_loss", "train_dsc", "val_dsc"):
        assert read_curves(parts.output)[name] == pytest.approx(curves[name], abs=1e-6), name


def test_a_run_whose_last_step_meets_the_time_limit_is_finished(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(data, tmp_path / "run", epochs=1, minutes=4 / 60)
    tick(monkeypatch)
    best = fit(config)
    assert best == config.output / "best.safetensors"
    before = best.read_bytes()
    assert fit(config, resume=True) == best
    assert best.read_bytes() == before
    assert torch.load(config.output / "last.ckpt", weights_only=True)["global_step"] == 4


def test_the_best_is_never_worse_than_the_start(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = lambda logits, truth: torch.full((len(logits),), 0.5)  # noqa: E731
    monkeypatch.setattr("medsam_edge_train.stages.fit.batch_dice", half)
    torch.manual_seed(0)
    start, init = tiny(), tmp_path / "init.safetensors"
    checkpoint.write(init, start, "tiny")
    config = tiny_config(data, tmp_path / "run", init=init, ema=0.0, epochs=1)
    best = fit(config)  # no epoch is better
    assert best is not None
    found = checkpoint.read(best)
    assert (found.metadata["epoch"], found.metadata["step"]) == ("0", "0")
    for key, value in start.named_parameters():
        assert torch.equal(found.state[key], value), key
    assert "no epoch was better than the start" in capsys.readouterr().err


def test_an_interrupt_saves_the_run_after_its_step(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    whole, broken = tiny_config(data, tmp_path / "whole"), tiny_config(data, tmp_path / "broken")
    fit(whole)
    step = PipelineModule.training_step

    def press(self: PipelineModule, batch: Any, number: int) -> torch.Tensor:
        if self.global_step == 1 and not (self.config.output / "last.ckpt").exists():
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, number)

    monkeypatch.setattr(PipelineModule, "training_step", press)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(broken)
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.load(broken.output / "last.ckpt", weights_only=True)["global_step"] == 2
    assert fit(broken, resume=True) == broken.output / "best.safetensors"
    same_weights(whole.output / "last.ckpt", broken.output / "last.ckpt", rtol=0, atol=0)


def test_a_second_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    interrupt = Interrupt(KeepLast(tmp_path, 0))
    interrupt.ask()
    with pytest.raises(KeyboardInterrupt):
        interrupt.ask()
