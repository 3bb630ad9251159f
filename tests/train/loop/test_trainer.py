from __future__ import annotations

import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medsam_edge.errors import InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.data.datasets import Sample, TrainingData
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.loop.trainer import make_trainer
from medsam_edge_train.stages.fit import FitConfig, fit
from tests.train.runs import in_a_process, same_weights, val_scores
from tests.train.tiny import tiny_config, tiny_rep

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture(scope="module")
def config(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FitConfig:
    """The settings of a run of two epochs that has been made."""
    config = tiny_config(data, tmp_path_factory.mktemp("runs") / "new" / "run")
    assert fit(config) == config.output / "best.safetensors"
    return config


# 8 steps in 2 epochs: killed before the first epoch's last step, before its validation, and in the second; last.ckpt is
# up to two steps old
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill_at", "settings"),
    [
        (3, {"checkpoint_steps": 2}),
        (4, {"checkpoint_steps": 2, "schedule": "plateau", "warmup_steps": 0, "plateau_patience": 0}),
        (7, {"checkpoint_steps": 2, "qat": True, "architecture": "tiny_rep", "init": Path("tiny_rep.safetensors")}),
        (7, {"checkpoint_steps": 3, "ema": 0.0, "images_per_epoch": 0, "batch_size": 1, "epochs": 3, "workers": 1}),
    ],
)
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(
    data: Path, tmp_path: Path, kill_at: int, settings: dict[str, Any]
) -> None:
    torch.set_num_threads(1)
    if "init" in settings:
        settings = settings | {"init": tmp_path / settings["init"]}
        checkpoint.write(settings["init"], tiny_rep(), "tiny_rep")
    whole = tiny_config(data, tmp_path / "whole", **settings)
    fit(whole)
    broken = tiny_config(data, tmp_path / "broken", **settings)
    words = [f"{name}={value!r}".replace("PosixPath", "Path") for name, value in settings.items()]
    process = in_a_process([str(data), str(broken.output), str(kill_at), *words])
    assert process.wait() == -signal.SIGKILL
    position = torch.load(broken.output / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < position <= kill_at
    fit(broken, resume=True)
    exact = {"rtol": 0, "atol": 0}
    same_weights(whole.output / "last.ckpt", broken.output / "last.ckpt", **exact)
    same_weights(whole.output / "best.safetensors", broken.output / "best.safetensors", **exact)
    curves = read_curves(whole.output)
    for name, curve in read_curves(broken.output).items():
        if name in ("train_loss", "train_dsc", "val_dsc", "learning_rate"):
            assert curve == pytest.approx(curves[name], abs=1e-6), name


@pytest.mark.parametrize(("world", "local", "devices", "nodes"), [(None, None, 1, None), ("8", "4", 4, 2)])
def test_devices_and_nodes_follow_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: str | None, local: str | None, devices: int, nodes: int
) -> None:
    settings: dict[str, Any] = {}
    monkeypatch.setattr("pytorch_lightning.Trainer", lambda **given: settings.update(given))
    for name, value in (("WORLD_SIZE", world), ("LOCAL_WORLD_SIZE", local)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    make_trainer(tiny_config(tmp_path, tmp_path / "run", batch_size=8), resume=False)
    assert (settings["devices"], settings.get("num_nodes")) == (devices, nodes)


def train_in_two_processes(words: list[str]) -> list[int]:
    """Their exit codes; the environment is what torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [
        in_a_process(
            words,
            WORLD_SIZE="2",
            LOCAL_WORLD_SIZE="2",
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            GROUP_RANK="0",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            TORCHELASTIC_RUN_ID="test",
        )
        for rank in range(2)
    ]
    return [process.wait(timeout=300) for process in both]


@pytest.mark.slow
def test_two_processes_killed_and_resumed_train_as_one_does(data: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    settings = {"architecture": "tiny_no_norm", "batch_size": 4, "images_per_epoch": 12, "checkpoint_steps": 1}
    one = tiny_config(data, tmp_path / "one", **settings)
    fit(one)
    words = [f"{name}={value!r}" for name, value in settings.items()]
    assert 0 not in train_in_two_processes([str(data), str(tmp_path / "two"), "2", *words])
    assert train_in_two_processes([str(data), str(tmp_path / "two"), "0", *words]) == [0, 0]
    # softmax ignores what a key's bias adds: its gradient is rounding noise, which Adam makes as large as any other
    close = {"rtol": 1e-3, "atol": 1e-5, "but": "k_proj.bias"}
    same_weights(one.output / "last.ckpt", tmp_path / "two" / "last.ckpt", **close)
    one_curves, two_curves = read_curves(one.output), read_curves(tmp_path / "two")
    for name in ("train_loss", "train_dsc", "val_dsc", "val_nsd", "val_score"):
        assert two_curves[name] == pytest.approx(one_curves[name], abs=2e-3), name


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"), InputError, "batch_size: 2 images a"),
        (torch.OutOfMemoryError("CUDA out of memory"), InputError, "batch_size: 2 images a step need more memory"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal"), InputError, "workers: one of 0 was .*__main__"),
        (RuntimeError("Caught RuntimeError in DataLoader worker process 0"), RuntimeError, "Caught RuntimeError"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_lack_of_memory_killed_workers_and_interrupts_have_their_errors(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    expected: type[BaseException],
    message: str,
) -> None:
    def training_step(*_: Any) -> None:
        raise raised

    monkeypatch.setattr("medsam_edge_train.stages.fit.PipelineModule.training_step", training_step)
    with pytest.raises(expected, match=message):
        fit(tiny_config(data, tmp_path / "run"))


def test_a_diverged_run_is_an_error_and_leaves_no_best_checkpoint(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run", learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(InputError, match=r"^learning_rate: .* expected less than 1e\+30"):
        fit(config)
    assert not (config.output / "best.safetensors").exists()


def test_a_new_run_does_not_overwrite_an_old_one(config: FitConfig) -> None:
    before = (config.output / "last.ckpt").read_bytes()
    with pytest.raises(InputError, match=r"output: .* holds a run that --resume would continue"):
        fit(config)
    assert (config.output / "last.ckpt").read_bytes() == before


def test_resume_without_a_run_is_refused(config: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output: .* holds no run to resume"):
        fit(replace(config, output=tmp_path / "nothing"), resume=True)
    assert not (tmp_path / "nothing").exists()


def test_resume_draws_no_epoch_twice_and_keeps_the_best_score(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    draw = TrainingData.__getitem__

    def spy(self: TrainingData, index: tuple[int, int, int]) -> Sample:
        epochs.append(index[0])
        return draw(self, index)

    monkeypatch.setattr(TrainingData, "__getitem__", spy)
    config = replace(tiny_config(data, tmp_path / "run"), schedule="constant", epochs=1)
    fit(config)
    assert epochs == [0] * 8
    first = torch.load(config.output / "last.ckpt", weights_only=True)
    best = checkpoint.read(config.output / "best.safetensors").metadata

    fit(replace(config, epochs=3), resume=True)
    assert epochs == [0] * 8 + [1] * 8 + [2] * 8  # no epoch is drawn twice
    second = torch.load(config.output / "last.ckpt", weights_only=True)
    assert (first["global_step"], second["global_step"]) == (4, 12)
    assert second["epoch"] == 2
    now = checkpoint.read(config.output / "best.safetensors").metadata
    assert float(now["val_dsc"]) >= float(best["val_dsc"])  # the best of the first part is not forgotten


def test_resume_keeps_the_log_of_the_first_part(data: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(data, tmp_path / "run"), schedule="constant", epochs=1)
    fit(config)
    first = val_scores(config)
    fit(replace(config, epochs=2), resume=True)
    assert len(val_scores(config)) == 2
    assert val_scores(config)[:1] == first


def test_a_run_in_two_parts_equals_a_run_in_one(data: Path, tmp_path: Path) -> None:
    whole = replace(tiny_config(data, tmp_path / "whole"), schedule="constant", epochs=2)
    parts = replace(whole, output=tmp_path / "parts")
    fit(whole)
    fit(replace(parts, epochs=1))
    fit(parts, resume=True)
    expected = checkpoint.read(whole.output / "last.ckpt").state
    for key, value in checkpoint.read(parts.output / "last.ckpt").state.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-5, msg=key)
