"""Every number here is read off the papers' tables, not off the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medsam_edge_train.cli.stages import PRESETS
from medsam_edge_train.models import ZOO
from medsam_edge_train.stages.distill import DistillConfig
from medsam_edge_train.stages.fit import FitConfig

CONFIGS: dict[str, type[Any]] = {"distill": DistillConfig, "fit": FitConfig, "finetune": FitConfig}


def config_of(stage: str, name: str) -> Any:
    needed = {"distill": {"embeddings": Path("store")}, "fit": {}, "finetune": {"init": Path("trained.safetensors")}}
    return CONFIGS[stage](Path("data"), Path("run"), **PRESETS[stage][name], **needed[stage])


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage, own in PRESETS.items() for name in own])
def test_every_preset_is_a_valid_configuration(stage: str, name: str) -> None:
    assert config_of(stage, name).architecture in ZOO


@pytest.mark.parametrize(
    ("stage", "epochs", "rate"), [("distill", 5, 5e-4), ("fit", 8, 3e-4), ("finetune", 12, 2e-5)]
)  # Tables 2, 3 and 4
def test_rep_medsam_tables_2_to_4(stage: str, epochs: int, rate: float) -> None:
    config = config_of(stage, "rep-medsam")
    assert config.architecture == "rep_medsam"  # 10.57M parameters
    assert config.batch_size == 16
    assert config.image_size == 256  # patch size 3 × 256 × 256
    assert config.epochs == epochs
    assert config.learning_rate == rate
    assert config.schedule == "plateau"  # ReduceLROnPlateau
    assert config.images_per_epoch == 0  # an epoch is a pass
    assert config.ema == 0  # not mentioned


@pytest.mark.parametrize(("stage", "augmentation"), [("fit", "flips"), ("finetune", "flips+color")])
def test_rep_medsam_tables_3_and_4_losses_and_augmentation(stage: str, augmentation: str) -> None:
    config = config_of(stage, "rep-medsam")
    assert config.augmentation == augmentation
    assert config.pixel_loss == "bce"  # Dice loss, BCE loss
    assert config.iou_weight == 1  # and IoU loss


def test_rep_medsam_fine_tuning_takes_ct_from_the_supplementary_sets_alone() -> None:  # section 3.2
    assert config_of("finetune", "rep-medsam").leave_out == ("CT",)
    assert config_of("fit", "rep-medsam").leave_out == ()


def test_quantization_aware_training_is_gentle() -> None:
    config = config_of("finetune", "qat")
    assert config.qat
    assert config.learning_rate <= 2e-5  # no more than that of Table 4, which ends the training in floating point


def test_class_prompt_table_2() -> None:
    config = config_of("fit", "class-prompt")
    assert config.architecture == "class_prompt_tinyvit"
    assert config.batch_size == 64
    assert config.image_size == 256
    assert config.epochs == 20
    assert config.learning_rate == 5e-4
    assert config.schedule == "plateau"
    assert config.pixel_loss == "focal"  # Dice loss, cross entropy loss, focal loss
    assert config.class_weight == 1
    assert config.iou_weight == 0
    assert config.augmentation == "flips"  # section 3.2, 1
    assert config.select == "paper"  # section 3.2, 3
