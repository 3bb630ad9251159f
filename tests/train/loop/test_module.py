from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medsam_edge.errors import InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.loop.module import StageModule
from medsam_edge_train.models.quantize import calibrate
from medsam_edge_train.stages.fit import FitConfig, fit
from tests.train.tiny import tiny_config, tiny_rep

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture
def config(data: Path, tmp_path: Path) -> FitConfig:
    return tiny_config(data, tmp_path / "run")


def test_frozen_parts_keep_weights_and_statistics(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run", freeze=("image_encoder",), ema=0.0, epochs=1)
    fit(config)
    torch.manual_seed(config.seed)  # as the run did: the same random weights
    before = StageModule(config).network.state_dict()
    after = checkpoint.read(config.output / "last.ckpt").state
    changed = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed == {"mask_decoder", "prompt_encoder"}


def test_freezing_all_parts_is_refused(data: Path, tmp_path: Path) -> None:
    everything = ("image_encoder", "prompt_encoder", "mask_decoder")
    with pytest.raises(InputError, match="freeze: expected to leave a part to train, got image_encoder, prompt"):
        fit(tiny_config(data, tmp_path / "run", freeze=everything))


def test_plateau_lowers_the_learning_rate_when_the_loss_stops_falling(data: Path, tmp_path: Path) -> None:
    settings = {"schedule": "plateau", "warmup_steps": 0, "plateau_patience": 0, "plateau_factor": 0.1}
    # so low a rate that the loss goes up and down with the draws
    config = tiny_config(data, tmp_path / "run", **settings, learning_rate=1e-6, epochs=4)
    fit(config)
    curves = read_curves(config.output)
    loss, rate, best, expected = curves["train_loss"], curves["learning_rate"], float("inf"), 1e-6
    for epoch in sorted(loss):
        expected = expected if loss[epoch] < best * (1 - 1e-4) else expected * 0.1
        best = min(best, loss[epoch])
        assert rate[epoch] == pytest.approx(expected)
    assert rate[4] < 1e-6


def factors(config: FitConfig, steps: int) -> list[float]:
    """The learning rate of each step as a share of the configured one, in a run of so many steps."""
    module = StageModule(config)
    trainer = SimpleNamespace(estimated_stepping_batches=steps)
    module._trainer = trainer  # type: ignore[assignment]
    scheduler = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    return [scheduler.lr_lambdas[0](step) for step in range(steps)]


def test_the_cosine_schedule_warms_up_and_falls_to_zero(config: FitConfig) -> None:
    shares = factors(replace(config, warmup_steps=4), 104)
    assert shares[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert shares[54] == pytest.approx(0.5)  # half way
    assert shares[29] == pytest.approx(0.5 * (1 + 0.5**0.5))  # a quarter of the way: cos 45°
    assert shares[103] == pytest.approx(0, abs=1e-3)
    assert shares[4:] == sorted(shares[4:], reverse=True)


def test_the_constant_schedule_warms_up_and_stays(config: FitConfig) -> None:
    assert factors(replace(config, warmup_steps=2, schedule="constant"), 6) == [0.5, 1, 1, 1, 1, 1]
    assert factors(replace(config, warmup_steps=0, schedule="constant"), 3) == [1, 1, 1]


def test_weight_decay_spares_biases_and_norms(config: FitConfig) -> None:
    module = StageModule(config)
    trainer = SimpleNamespace(estimated_stepping_batches=10)
    module._trainer = trainer  # type: ignore[assignment]
    decayed, plain = module.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (config.weight_decay, 0.0)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(module.network.parameters()))


def test_init_must_not_be_quantized(config: FitConfig, tmp_path: Path) -> None:
    init = tmp_path / "qat.safetensors"
    checkpoint.write(init, calibrate(tiny_rep(), torch.rand(4, 3, 64, 64)), "tiny_rep")
    with pytest.raises(InputError, match=r"init: .*qat.safetensors is fused and quantized"):
        StageModule(replace(config, architecture="tiny_rep", init=init))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 1}, "resume: the run in .* was begun with other settings: batch_size 2"),
        ({"architecture": "tiny_rep", "image_size": 128}, "settings: architecture tiny, image_size 64"),
        ({"leave_out": ("Fundus",)}, r"settings: leave_out \(\)"),
        ({"early_stop": 3}, "settings: early_stop 0"),  # Lightning would keep the old one
    ],
)
def test_resuming_with_other_settings_is_refused(
    data: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    config = tiny_config(data, tmp_path / "run", epochs=1)
    fit(config)
    with pytest.raises(InputError, match=message):
        fit(replace(config, epochs=2, **settings), resume=True)


def test_a_run_goes_on_with_more_epochs_other_workers_and_another_time(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run", epochs=1)
    fit(config)
    assert fit(replace(config, epochs=2, workers=1, minutes=9), resume=True)
    assert sorted(read_curves(config.output)["val_dsc"]) == [0, 1, 2]


def test_resuming_with_another_number_of_images_is_refused(data: Path, tmp_path: Path) -> None:
    fit(tiny_config(data, tmp_path / "run", epochs=1))
    with pytest.raises(InputError, match="resume: the run was begun with 5 training images, got 10"):
        fit(tiny_config(data, tmp_path / "run", extra_data=(data,)), resume=True)
