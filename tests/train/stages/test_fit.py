from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.modality import Modality
from medsam_edge_train import checkpoint
from medsam_edge_train.data.cases import find_cases
from medsam_edge_train.data.datasets import Sample, TrainingData, ValidationData
from medsam_edge_train.loop.config import choose_precision
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.models import ZOO, MedSAM
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from medsam_edge_train.stages.fit import FitConfig, PipelineModule, finetune, fit, training_cases
from medsam_edge_train.stages.losses import batch_dice
from tests.train.tiny import tiny_config, write_data

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture(scope="module")
def config(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FitConfig:
    """The settings of a run of two epochs that has been made."""
    config = tiny_config(data, tmp_path_factory.mktemp("runs") / "new" / "run")
    assert fit(config) == config.output / "best.safetensors"
    return config


def curve(config: FitConfig, name: str) -> list[float]:
    """A metric after each epoch, without the value before training."""
    return [value for epoch, value in sorted(read_curves(config.output)[name].items()) if epoch > 0]


def val_scores(config: FitConfig) -> list[float]:
    return curve(config, "val_dsc")


def validation_score(network: MedSAM, config: FitConfig) -> float:
    """The mean over modalities of the mean DSC of all their objects, worked out anew."""
    scores: dict[Modality, list[float]] = {}
    for sample in _samples(ValidationData(find_cases(config.data / "val"), 64, config.val_boxes)):
        with torch.no_grad():
            boxes = sample.boxes * 4  # from the 64 to the 256 frame
            logits, _ = network.eval().decode(network.embed(sample.image[None]), boxes)
        scores.setdefault(sample.modality, []).extend(batch_dice(logits, sample.masks).tolist())
    return float(np.mean([np.mean(own) for own in scores.values()]))


def _samples(data: ValidationData) -> list[Sample]:
    return [data[index] for index in range(len(data))]


def test_a_run_leaves_what_it_promises(config: FitConfig) -> None:
    files = {path.name for path in config.output.iterdir()}
    assert {"best.safetensors", "last.ckpt", "curves.png", "before.json", "log", "tensorboard"} == files
    assert not any(name.endswith(".partial") for name in files)


def test_the_best_checkpoint_describes_itself(config: FitConfig) -> None:
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


def test_training_changed_weights_and_statistics(config: FitConfig) -> None:
    pl.seed_everything(config.seed, verbose=False)
    fresh = PipelineModule(config).network.state_dict()
    trained = checkpoint.read(config.output / "last.ckpt").state
    for key in ("image_encoder.0.weight", "image_encoder.1.running_mean", "mask_decoder.mask_tokens.weight"):
        assert not torch.equal(fresh[key], trained[key]), key
    assert all(torch.isfinite(value).all() for value in trained.values())


def test_the_log_holds_losses_and_scores(config: FitConfig) -> None:
    curves = read_curves(config.output)
    assert [len(curve(config, name)) for name in ("train_loss", "train_dsc", "val_dsc", "val_nsd")] == [2, 2, 2, 2]
    assert sorted(curves["val_dsc"]) == [0, 1, 2]  # and the score before training
    for name in ("val_dsc", "val_nsd"):
        for epoch, mean in curves[name].items():
            own = [curves[f"{name}/{modality.value}"][epoch] for modality in (Modality.CT, Modality.FUNDUS)]
            assert mean == pytest.approx(np.mean(own))
            assert all(0 <= value <= 1 for value in own)


def test_a_run_repeats(config: FitConfig, tmp_path: Path) -> None:
    again = replace(config, output=tmp_path / "run")
    fit(again)
    assert val_scores(again) == pytest.approx(val_scores(config), abs=1e-5)


def test_a_run_is_not_overwritten(config: FitConfig) -> None:
    before = (config.output / "last.ckpt").read_bytes()
    with pytest.raises(InputError, match=r"output: .* holds a run that --resume would continue"):
        fit(config)
    assert (config.output / "last.ckpt").read_bytes() == before


def test_there_must_be_a_run_to_resume(config: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output: .* holds no run to resume"):
        fit(replace(config, output=tmp_path / "nothing"), resume=True)
    assert not (tmp_path / "nothing").exists()


def test_resume_goes_on_where_it_stopped(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_without_averaging(data: Path, tmp_path: Path) -> None:
    config = replace(tiny_config(data, tmp_path / "run"), ema=0.0, epochs=1)
    best = fit(config)
    last = torch.load(config.output / "last.ckpt", weights_only=True)
    assert "averaging_state" not in last
    loaded, _ = checkpoint.load(best)
    assert validation_score(loaded, config) == pytest.approx(val_scores(config)[0], abs=2e-4)


def test_a_run_starts_from_a_checkpoint(config: FitConfig, tmp_path: Path) -> None:
    state = checkpoint.read(config.output / "best.safetensors").state
    module = PipelineModule(replace(config, init=config.output / "best.safetensors"))
    for key, value in module.network.state_dict().items():
        assert torch.equal(value, state[key]), key
    with pytest.raises(CheckpointError, match=r"does not match rep_medsam_s: .*; its tensors are nearest to tiny$"):
        PipelineModule(replace(config, architecture="rep_medsam_s", init=config.output / "best.safetensors"))
    with pytest.raises(FileMissingError):
        PipelineModule(replace(config, init=tmp_path / "no.pth"))


def test_data_must_exist(config: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="expected a folder"):
        fit(replace(config, data=tmp_path / "nowhere", output=tmp_path / "run"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0}, "image_size: expected a positive multiple of 64, got 0"),
        ({"image_size": -64}, "image_size: .* got -64"),
        ({"image_size": 32}, "image_size: .* got 32"),
        ({"image_size": 100}, "image_size: .* got 100"),
        ({"schedule": "linear"}, "schedule: expected one of cosine, constant, plateau, got 'linear'"),
        ({"images_per_epoch": 15, "batch_size": 16}, "images_per_epoch: expected 0 or at least batch_size, got 15"),
        ({"boxes_per_image": 0}, "boxes_per_image: expected at least 1, got 0"),
        (
            {"augmentation": "none"},
            "augmentation: expected one of full, full.loose, full.careless, flips, flips.color, got 'none'",
        ),
        ({"pixel_loss": "mse"}, "pixel_loss: expected one of bce, focal, got 'mse'"),
        ({"select": "loss"}, "select: expected one of dsc, paper, got 'loss'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FitConfig(Path("data"), Path("run"), **settings)


def test_an_unknown_architecture_is_refused(config: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="architecture: expected one of"):
        fit(replace(config, architecture="unet", output=tmp_path / "run"))


@pytest.mark.parametrize(
    ("cuda", "native", "emulated", "avx512", "expected"),
    [
        (False, False, False, False, "32-true"),
        (False, False, False, True, "bf16-mixed"),
        (True, True, True, False, "bf16-mixed"),
        (True, False, False, True, "32-true"),  # the GPU is what computes
        (True, False, True, False, "32-true"),  # older GPUs only emulate it, slowly
    ],
)
def test_choose_precision(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, native: bool, emulated: bool, avx512: bool, expected: str
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return native or (emulated and including_emulation)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert choose_precision("auto") == expected
    assert choose_precision("16-mixed") == "16-mixed"


def factors(config: FitConfig, steps: int) -> list[float]:
    """The learning rate of each step as a share of the configured one, in a run of so many steps."""
    module = PipelineModule(config)
    trainer = SimpleNamespace(estimated_stepping_batches=steps)
    module._trainer = trainer  # type: ignore[assignment]
    scheduler = module.configure_optimizers()["lr_scheduler"]["scheduler"]
    return [scheduler.lr_lambdas[0](step) for step in range(steps)]


def test_the_cosine_schedule_by_hand(config: FitConfig) -> None:
    shares = factors(replace(config, warmup_steps=4), 104)
    assert shares[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert shares[54] == pytest.approx(0.5)  # half way
    assert shares[29] == pytest.approx(0.5 * (1 + 0.5**0.5))  # a quarter of the way: cos 45°
    assert shares[103] == pytest.approx(0, abs=1e-3)
    assert shares[4:] == sorted(shares[4:], reverse=True)


def test_the_constant_schedule_by_hand(config: FitConfig) -> None:
    assert factors(replace(config, warmup_steps=2, schedule="constant"), 6) == [0.5, 1, 1, 1, 1, 1]
    assert factors(replace(config, warmup_steps=0, schedule="constant"), 3) == [1, 1, 1]


def test_weight_decay_spares_biases_and_norms(config: FitConfig) -> None:
    module = PipelineModule(config)
    trainer = SimpleNamespace(estimated_stepping_batches=10)
    module._trainer = trainer  # type: ignore[assignment]
    decayed, plain = module.configure_optimizers()["optimizer"].param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (config.weight_decay, 0.0)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(module.network.parameters()))


def test_an_image_without_objects_can_be_validated(config: FitConfig) -> None:
    module = PipelineModule(config).eval()
    empty = Sample(torch.rand(3, 64, 64), torch.zeros(0, 4), torch.zeros(0, 64, 64, dtype=torch.bool), Modality.CT)
    full = Sample(
        torch.rand(3, 64, 64), torch.tensor([[0.0, 0, 32, 32]]), torch.ones(1, 64, 64, dtype=torch.bool), Modality.CT
    )
    with torch.no_grad():
        module.validation_step([empty, full], 0)
    assert {name: sums[0] for name, sums in module._sums.items()} == {"CT": 1}


@pytest.mark.parametrize(
    ("select", "seconds", "expected"), [("dsc", 3.0, 0.8), ("paper", 1.0, 0.65), ("paper", 0.0, 0.9)]
)
def test_selection_by_hand(config: FitConfig, select: Any, seconds: float, expected: float) -> None:
    # accuracy: the mean of DSC 0.8, NSD 1.0 and Jaccard 0.6; the time counts 1 / (1 + seconds), half of it all
    module = PipelineModule(replace(config, select=select))
    module._sums = {"CT": [2.0, 1.6, 2.0, 1.2]}
    module._timing = {"seconds": [4.0, 4 * seconds]}
    scores = module.scores()
    assert (scores["val_dsc"], scores["val_nsd"]) == (pytest.approx(0.8), pytest.approx(1.0))
    assert scores["val_score"] == pytest.approx(expected)
    assert module._sums == module._timing == {}


def test_finetune_needs_a_start(config: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="init: finetune starts from a trained checkpoint, got none"):
        finetune(replace(config, output=tmp_path / "run"))
    start = config.output / "best.safetensors"
    gentle = replace(config, output=tmp_path / "run", init=start, epochs=1, learning_rate=1e-9, warmup_steps=0)
    before = checkpoint.read(start).state["image_encoder.0.weight"]
    after = checkpoint.read(finetune(gentle)).state["image_encoder.0.weight"]
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_extra_data_and_modalities_left_out(config: FitConfig, tmp_path: Path) -> None:
    other = write_data(tmp_path / "other")
    base = replace(config, output=tmp_path / "run")
    assert [case.modality.value for case in training_cases(base)] == ["CT"] * 3 + ["Fundus"] * 2
    assert [case.modality.value for case in training_cases(replace(base, leave_out=("ct",)))] == ["Fundus"] * 2
    both = training_cases(replace(base, leave_out=("CT",), extra_data=(other,)))
    assert [case.modality.value for case in both] == ["Fundus"] * 2 + ["CT"] * 3 + ["Fundus"] * 2
    with pytest.raises(InputError, match="leave_out: nothing is left"):
        training_cases(replace(base, leave_out=("CT", "Fundus")))


def test_the_teacher_is_not_trained(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="architecture: expected a network that can be trained, got 'medsam_vit_b'"):
        replace(tiny_config(data, tmp_path), architecture="medsam_vit_b")


def test_a_class_prompt_network_learns_its_modalities(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tiny_cp() -> MedSAM:
        return ClassPromptMedSAM(nn.Conv2d(3, 256, 4, 4), PromptEncoder(), MaskDecoder(depth=1))

    monkeypatch.setitem(ZOO, "tiny_cp", tiny_cp)
    config = replace(tiny_config(data, tmp_path / "run"), architecture="tiny_cp", epochs=1)
    loaded, name = checkpoint.load(fit(config))
    assert (name, type(loaded)) == ("tiny_cp", ClassPromptMedSAM)
    accuracies = curve(config, "val_class_accuracy")
    assert len(accuracies) == 1
    assert 0 <= accuracies[0] <= 1
