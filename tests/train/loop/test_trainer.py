from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medsam_edge.errors import ImageError, InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.loop.loader import validation_cases
from medsam_edge_train.loop.trainer import make_trainer
from medsam_edge_train.stages.fit import fit
from tests.train.tiny import tiny_config, tiny_rep

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("tiny_zoo")


def in_a_process(arguments: list[str], **environment: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(str(ROOT / part) for part in ("sdk", "convert", "train", "benchmarks", "."))
    command = [sys.executable, "-m", "tests.train.tiny", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path, **environment})


def same_weights(first: Path, second: Path, but: str = "nothing", **tolerance: Any) -> None:
    expected, got = checkpoint.read(first).state, checkpoint.read(second).state
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        if but in key:
            continue
        torch.testing.assert_close(got[key], value, msg=lambda text, key=key: f"{key}: {text}", **tolerance)


# 8 steps in 2 epochs: killed before the first epoch's last step, before its validation, and in the second; last.ckpt is
# up to two steps old
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
        (7, 6, {"workers": 1, "checkpoint_steps": 5}),
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


def test_a_run_that_ends_as_its_time_is_up_is_finished_and_stays_so(
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


@pytest.mark.parametrize(("world", "local", "devices", "nodes"), [(None, None, 1, None), ("8", "4", 4, 2)])
def test_only_torchrun_starts_processes(
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


def test_whole_images_follow_three_epochs_of_crops(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(data, tmp_path / "run", image_size=128, crop_size=64, epochs=5)
    sides: list[int] = []
    from medsam_edge_train.stages.fit import PipelineModule

    step = PipelineModule.training_step

    def spy(self: PipelineModule, batch: Any, index: int) -> torch.Tensor:
        sides.append(batch.images.shape[-1])
        return step(self, batch, index)

    monkeypatch.setattr(PipelineModule, "training_step", spy)
    fit(config)
    assert sides == [64] * 12 + [128] * 4 + [64] * 4


def test_a_run_that_stopped_early_stays_so(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "medsam_edge_train.stages.fit.batch_dice", lambda logits, truth: torch.full((len(logits),), 0.5)
    )
    config = tiny_config(data, tmp_path / "run", epochs=9, early_stop=2)
    assert fit(config) == fit(config, resume=True) == config.output / "best.safetensors"
    assert sorted(read_curves(config.output)["val_dsc"]) == [0, 1, 2, 3]  # before, the best, and two no better


def test_each_process_needs_a_validation_image(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    config = tiny_config(data, tmp_path / "run", batch_size=8, images_per_epoch=8, val_per_modality=1)
    with pytest.raises(InputError, match="data: expected a validation image for each of 8 processes, got 2"):
        validation_cases(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    shares = []
    for process in ("0", "1"):
        monkeypatch.setenv("RANK", process)
        shares += validation_cases(config)
    assert len({case.key for case in shares}) == len(shares) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 1}, "resume: the run in .* was begun with other settings: batch_size 2"),
        ({"architecture": "tiny_rep", "image_size": 128}, "settings: architecture tiny, image_size 64"),
        ({"leave_out": ("Fundus",)}, r"settings: leave_out \(\)"),
        ({"early_stop": 3}, "settings: early_stop 0"),  # Lightning would keep the old one
    ],
)
def test_a_resumed_run_has_the_settings_of_the_first(
    data: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    config = tiny_config(data, tmp_path / "run", epochs=1)
    fit(config)
    with pytest.raises(InputError, match=message):
        fit(replace(config, epochs=2, **settings), resume=True)
    assert fit(replace(config, epochs=2, workers=1, minutes=9), resume=True)  # which may change
    assert sorted(read_curves(config.output)["val_dsc"]) == [0, 1, 2]


def test_a_resumed_run_has_as_many_images(data: Path, tmp_path: Path) -> None:
    fit(tiny_config(data, tmp_path / "run", epochs=1))
    with pytest.raises(InputError, match="resume: the run was begun with 5 training images, got 10"):
        fit(tiny_config(data, tmp_path / "run", extra_data=(data,)), resume=True)


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried …"), InputError, "batch_size: 2 images a"),
        (torch.OutOfMemoryError("CUDA out of memory"), InputError, "batch_size: 2 images a step need more memory"),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal"), InputError, "workers: one of 0 was killed"),
        (RuntimeError("Caught RuntimeError in DataLoader worker process 0"), RuntimeError, "Caught RuntimeError"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
)
def test_how_a_run_breaks_off(
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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_line(data: Path, tmp_path: Path, workers: int) -> None:
    for split in ("train", "val"):
        shutil.copytree(data / split, tmp_path / split)
    for image in tmp_path.glob("train/*/*/images/*.png"):
        image.write_bytes(b"no png")
    with pytest.raises(ImageError) as caught:
        fit(tiny_config(tmp_path, tmp_path / "run", workers=workers))
    assert re.fullmatch(r"data: cannot read \S+\.png", str(caught.value))


def test_a_run_that_diverges_is_no_success(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run", learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(InputError, match=r"^learning_rate: .* expected less than 1e\+30"):
        fit(config)
    assert not (config.output / "best.safetensors").exists()
