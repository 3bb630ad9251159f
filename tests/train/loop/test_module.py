from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medsam_edge.errors import InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.loop.module import StageModule
from medsam_edge_train.stages.fit import fit
from tests.train.tiny import tiny_config

pytestmark = pytest.mark.usefixtures("tiny_zoo")


def test_frozen_parts_keep_weights_and_statistics(data: Path, tmp_path: Path) -> None:
    config = tiny_config(data, tmp_path / "run", freeze=("image_encoder",), ema=0.0, epochs=1)
    fit(config)
    torch.manual_seed(config.seed)  # as the run did: the same random weights
    before = StageModule(config).network.state_dict()
    after = checkpoint.read(config.output / "last.ckpt").state
    changed = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed == {"mask_decoder", "prompt_encoder"}


def test_something_must_be_left_to_train(data: Path, tmp_path: Path) -> None:
    everything = ("image_encoder", "prompt_encoder", "mask_decoder")
    with pytest.raises(InputError, match="freeze: expected to leave a part to train, got image_encoder, prompt"):
        fit(tiny_config(data, tmp_path / "run", freeze=everything))


def test_plateau_lowers_the_rate(data: Path, tmp_path: Path) -> None:
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
