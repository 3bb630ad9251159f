from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.modality import Modality
from medsam_edge_train import checkpoint
from medsam_edge_train.data.augment import AUGMENTATIONS
from medsam_edge_train.data.datasets import Sample
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.models import ZOO, MedSAM
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.medsam import EXTRA_WEIGHTS
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from medsam_edge_train.models.quantize import Quantizers
from medsam_edge_train.stages.fit import (
    FitConfig,
    PipelineModule,
    calibration_images,
    finetune,
    fit,
    loaders,
    training_cases,
)
from tests.train.runs import curve, val_scores
from tests.train.tiny import tiny, tiny_config, tiny_rep, write_data

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture(scope="module")
def config(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FitConfig:
    """The settings of a run of two epochs that has been made."""
    config = tiny_config(data, tmp_path_factory.mktemp("runs") / "new" / "run")
    assert fit(config) == config.output / "best.safetensors"
    return config


def test_a_run_writes_checkpoints_curves_and_logs(config: FitConfig) -> None:
    files = {path.name for path in config.output.iterdir()}
    assert {"best.safetensors", "last.ckpt", "curves.png", "before.json", "log", "tensorboard"} == files
    assert not any(name.endswith(".partial") for name in files)


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


def test_equal_settings_give_equal_scores(config: FitConfig, tmp_path: Path) -> None:
    again = replace(config, output=tmp_path / "run")
    fit(again)
    assert val_scores(again) == pytest.approx(val_scores(config), abs=1e-5)


def test_init_gives_the_weights_and_a_mismatch_is_refused(config: FitConfig, tmp_path: Path) -> None:
    state = checkpoint.read(config.output / "best.safetensors").state
    module = PipelineModule(replace(config, init=config.output / "best.safetensors"))
    for key, value in module.network.state_dict().items():
        assert torch.equal(value, state[key]), key
    with pytest.raises(CheckpointError, match=r"does not match rep_medsam_s: .*; its tensors are nearest to tiny$"):
        PipelineModule(replace(config, architecture="rep_medsam_s", init=config.output / "best.safetensors"))
    with pytest.raises(FileMissingError):
        PipelineModule(replace(config, init=tmp_path / "no.pth"))


def test_a_missing_data_folder_is_refused(config: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="expected a folder"):
        fit(replace(config, data=tmp_path / "nowhere", output=tmp_path / "run"))


def test_an_unknown_architecture_is_refused(config: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="architecture: expected one of"):
        fit(replace(config, architecture="unet", output=tmp_path / "run"))


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
def test_val_score_is_the_dsc_or_follows_the_papers_rule(
    config: FitConfig, select: Any, seconds: float, expected: float
) -> None:
    # accuracy: the mean of DSC 0.8, NSD 1.0 and Jaccard 0.6; the time counts 1 / (1 + seconds), half of it all
    module = PipelineModule(replace(config, select=select))
    module._sums = {"CT": [2.0, 1.6, 2.0, 1.2]}
    module._timing = {"seconds": [4.0, 4 * seconds]}
    scores = module.scores()
    assert (scores["val_dsc"], scores["val_nsd"]) == (pytest.approx(0.8), pytest.approx(1.0))
    assert scores["val_score"] == pytest.approx(expected)
    assert module._sums == module._timing == {}


def test_finetune_starts_from_init_and_needs_it(config: FitConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="init: finetune starts from a trained checkpoint, got none"):
        finetune(replace(config, output=tmp_path / "run"))
    start = config.output / "best.safetensors"
    gentle = replace(config, output=tmp_path / "run", init=start, epochs=1, learning_rate=1e-9, warmup_steps=0)
    before = checkpoint.read(start).state["image_encoder.0.weight"]
    after = checkpoint.read(finetune(gentle)).state["image_encoder.0.weight"]
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def test_leave_out_drops_modalities_of_data_and_extra_data_adds_cases(config: FitConfig, tmp_path: Path) -> None:
    other = write_data(tmp_path / "other")
    base = replace(config, output=tmp_path / "run")
    assert [case.modality.value for case in training_cases(base)] == ["CT"] * 3 + ["Fundus"] * 2
    assert [case.modality.value for case in training_cases(replace(base, leave_out=("ct",)))] == ["Fundus"] * 2
    both = training_cases(replace(base, leave_out=("CT",), extra_data=(other,)))
    assert [case.modality.value for case in both] == ["Fundus"] * 2 + ["CT"] * 3 + ["Fundus"] * 2
    with pytest.raises(InputError, match="leave_out: expected to leave images to train on"):
        training_cases(replace(base, leave_out=("CT", "Fundus")))


def test_a_class_prompt_network_trains_and_logs_its_class_accuracy(
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"boxes_per_image": 0}, "boxes_per_image: expected at least 1, got 0"),
        (
            {"augmentation": "none"},
            "augmentation: expected one of full, full.loose, full.careless, flips, flips.color, got 'none'",
        ),
        ({"pixel_loss": "mse"}, "pixel_loss: expected one of bce, focal, got 'mse'"),
        ({"select": "loss"}, "select: expected one of dsc, paper, got 'loss'"),
        ({"crop_size": 100}, "crop_size: expected 0 or a multiple of 64 below image_size, 64, got 100"),
        ({"crop_size": 64}, "crop_size: expected 0 or a multiple of 64 below image_size, 64, got 64"),
        ({"withhold_modality": 1.1}, "withhold_modality: expected 0 to 1, got 1.1"),
        ({"synthetic": -0.1}, "synthetic: expected 0 to 1, got -0.1"),
        ({"superpixel_scales": (5.0,)}, "superpixel_scales: expected two numbers"),
        ({"superpixel_scales": (50.0, 5.0)}, "superpixel_scales: expected two numbers, 0 < smallest <= largest"),
        ({"paste": 1.5}, "paste: expected 0 to 1, got 1.5"),
        ({"contrast": -0.5}, "contrast: expected 0 to 1, got -0.5"),
        ({"zoom": (1.0,)}, r"zoom: expected two numbers, 0.25 <= smallest <= largest <= 4, got \(1.0,\)"),
        ({"zoom": (2.0, 0.5)}, "zoom: expected two numbers"),
        ({"zoom": (0.2, 1.0)}, "zoom: expected two numbers"),
        ({"zoom": (1.0, 4.5)}, "zoom: expected two numbers"),
        ({"zoom": (float("nan"), 1.0)}, "zoom: expected two numbers"),
        ({"iou_weight": -1.0}, "iou_weight: expected 0 or more, got -1.0"),
        ({"qat": True}, "init: qat starts from a trained checkpoint, got none"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_config(Path("data"), Path("run"), **settings)


def test_settings_of_draws_reach_the_data(data: Path, tmp_path: Path) -> None:
    plain = loaders(tiny_config(data, tmp_path / "run"))[0].dataset
    assert (plain.paste, plain.augmentation) == (0.0, AUGMENTATIONS["full"])
    settings = {"paste": 0.3, "contrast": 0.4, "zoom": (0.25, 4.0), "augmentation": "full+careless"}
    drawn = loaders(tiny_config(data, tmp_path / "run", **settings))[0].dataset
    assert drawn.paste == 0.3
    assert drawn.augmentation == replace(AUGMENTATIONS["full+careless"], contrast=0.4, zoom=(0.25, 4.0))


def test_a_batch_of_whole_images_follows_seven_of_crops(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(data, tmp_path / "run", image_size=128, crop_size=64, images_per_epoch=20)
    sides: list[int] = []
    step = PipelineModule.training_step

    def spy(self: PipelineModule, batch: Any, index: int) -> torch.Tensor:
        sides.append(batch.images.shape[-1])
        return step(self, batch, index)

    monkeypatch.setattr(PipelineModule, "training_step", spy)
    fit(config)
    assert sides == 2 * ([64] * 7 + [128] + [64] * 2)


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("init") / "float.safetensors"
    checkpoint.write(path, tiny_rep(), "tiny_rep")
    return path


def qat_config(data: Path, output: Path, **settings: Any) -> Any:
    return tiny_config(data, output, architecture="tiny_rep", qat=True, **settings)


def test_qat_lowers_the_loss_and_keeps_the_ranges(data: Path, tmp_path: Path, init: Path) -> None:
    config = qat_config(data, tmp_path / "run", init=init, epochs=4)
    loaded, _ = checkpoint.load(finetune(config))
    curve = read_curves(config.output)["train_loss"]
    assert curve[max(curve)] < curve[min(curve)]
    before = PipelineModule(config).network
    assert isinstance(loaded.quantizers, Quantizers)
    assert isinstance(before.quantizers, Quantizers)
    for expected, got in zip(before.quantizers, loaded.quantizers, strict=True):  # also after averaging
        torch.testing.assert_close(got.state_dict(), expected.state_dict(), rtol=0, atol=0)
    last, name = checkpoint.load(config.output / "last.ckpt")
    assert name == "tiny_rep"
    assert last.quantizers is not None


def test_calibration_takes_training_images_of_each_modality(data: Path, tmp_path: Path) -> None:
    config = qat_config(data, tmp_path / "run", val_per_modality=2, init=tmp_path / "trained.safetensors")
    images = list(calibration_images(config))
    assert len(images) == 4  # of three CT and two fundus images
    assert {tuple(image.shape) for image in images} == {(3, 64, 64)}


def test_qat_without_init_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="init: qat starts from a trained checkpoint, got none"):
        fit(qat_config(data, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_windows_are_trained_and_kept_with_the_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synthetic labels, pasted objects, images without masks, and validation images of another folder, all at once."""

    def windowed() -> MedSAM:
        network = tiny()
        network.context, network.mask_decoder.ellipse = 0.5, 4.0
        return network

    monkeypatch.setitem(ZOO, "tiny", windowed)
    plain = tmp_path / "plain" / "CT" / "more"
    plain.mkdir(parents=True)
    for image in (data / "train/CT/phantom/images").iterdir():
        shutil.copy(image, plain / image.name)
    settings = {
        "synthetic": 0.5,
        "paste": 0.5,
        "contrast": 0.5,
        "zoom": (0.5, 2.0),
        "unlabelled": tmp_path / "plain",
        "validation": data / "train",
        "balance_by": "dataset",
    }
    best = fit(tiny_config(data, tmp_path / "run", image_size=128, **settings))
    assert best is not None
    network, _ = checkpoint.load(best)
    assert (network.context, network.mask_decoder.ellipse) == (0.5, 4.0)
    assert {case.dataset for case in training_cases(tiny_config(data, tmp_path / "x", **settings))} == {
        "phantom",
        "more",
    }


def windowed_with_hints() -> MedSAM:
    encoder = nn.Sequential(nn.Conv2d(3, 32, 4, 4), nn.BatchNorm2d(32))
    decoder = MaskDecoder(32, depth=1, heads=2, hidden=32, box_prior=True, ellipse=4.0, hints=True)
    return MedSAM(encoder, PromptEncoder(32, 4), decoder, context=0.5)


@pytest.mark.parametrize("crop_size", [0, 64])
def test_following_corrections_and_clicks_train_what_they_need(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crop_size: int
) -> None:
    """The network starts with boxes alone; its file then says that it takes clicks and masks, and it loads again."""
    monkeypatch.setitem(ZOO, "tiny", windowed_with_hints)
    start = tmp_path / "start.safetensors"
    checkpoint.write(start, windowed_with_hints(), "tiny")
    size = 128 if crop_size else 64
    shares = {"follow": 0.5, "correct": 0.4, "click": 0.3, "learning_rate": 0.01}
    config = tiny_config(data, tmp_path / "run", init=start, image_size=size, crop_size=crop_size, **shares)
    best = finetune(config)
    assert best is not None
    network, _ = checkpoint.load(best)
    before, _ = checkpoint.load(start)
    assert (before.prompt_kinds, network.prompt_kinds) == (("box",), ("box", "points", "mask"))
    trained = checkpoint.read(tmp_path / "run/last.ckpt").state  # the best may be the start
    for name in ("mask_decoder.hints.rows", "mask_decoder.hints.share", "prompt_encoder.mask_downscaling.6"):
        assert trained[f"{name}.weight"].abs().max() > 0  # they start as zeros


def test_with_boxes_frozen_masks_of_boxes_alone_stay_and_corrections_are_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ZOO, "tiny", windowed_with_hints)
    start = tmp_path / "start.safetensors"
    checkpoint.write(start, windowed_with_hints(), "tiny")
    shares = {"correct": 0.4, "click": 0.3, "learning_rate": 0.01}
    best = finetune(tiny_config(data, tmp_path / "run", init=start, image_size=64, freeze=("boxes",), **shares))
    assert best is not None
    before, after = (checkpoint.read(path).state for path in (start, tmp_path / "run/last.ckpt"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "mask_decoder.hints.pixels.weight" in changed
    assert all(name.startswith(EXTRA_WEIGHTS) for name in changed)


def test_a_checkpoint_with_unknown_prompts_is_refused(tmp_path: Path) -> None:
    network = tiny()
    network.prompt_kinds = ("box", "telepathy")
    checkpoint.write(tmp_path / "a.safetensors", network, "tiny")
    with pytest.raises(CheckpointError, match="telepathy"):
        checkpoint.load(tmp_path / "a.safetensors")
