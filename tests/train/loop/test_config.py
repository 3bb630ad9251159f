from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medsam_edge.errors import InputError
from medsam_edge_train.loop.config import choose_precision
from tests.train.tiny import tiny_config


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf")])
def test_minutes_must_be_finite_and_not_negative(data: Path, minutes: float) -> None:
    with pytest.raises(InputError, match="minutes: expected 0 or more"):
        tiny_config(data, Path("run"), minutes=minutes)


def test_the_batch_must_divide_among_the_processes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="batch_size: expected a multiple of the 3 processes, got 2"):
        tiny_config(data, Path("run"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 0}, "image_size: expected a positive multiple of 64, got 0"),
        ({"image_size": -64}, "image_size: .* got -64"),
        ({"image_size": 32}, "image_size: .* got 32"),
        ({"image_size": 100}, "image_size: .* got 100"),
        ({"schedule": "linear"}, "schedule: expected one of cosine, constant, plateau, got 'linear'"),
        ({"images_per_epoch": 15, "batch_size": 16}, "images_per_epoch: expected 0 or at least batch_size, got 15"),
        ({"schedule": "plateau", "warmup_steps": 5}, "warmup_steps: expected 0 with the plateau schedule, got 5"),
        ({"freeze": ("neck",)}, "freeze: expected some of image_encoder, .*, boxes, got neck"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"precision": "int8"}, "precision: expected one of auto, .*, got 'int8'"),
        ({"workers": -1}, "workers: expected 0 or more, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate: expected 0 or more, got nan"),
        ({"balance_by": "patient"}, "balance_by: expected"),
        ({"balance": float("nan")}, "balance: expected 0 to 1, got nan"),
        ({"ema": 1.0}, "ema: expected 0 or more and less than 1, got 1.0"),
        ({"plateau_factor": 1.0}, "plateau_factor: expected above 0 and less than 1, got 1.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_config(Path("data"), Path("run"), **settings)


def test_the_teacher_architecture_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="architecture: expected a network that can be trained, got 'medsam_vit_b'"):
        replace(tiny_config(data, tmp_path), architecture="medsam_vit_b")


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
def test_auto_precision_is_bf16_on_hardware_that_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, native: bool, emulated: bool, avx512: bool, expected: str
) -> None:
    def is_bf16_supported(including_emulation: bool = True) -> bool:
        return native or (emulated and including_emulation)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert choose_precision("auto") == expected
    assert choose_precision("16-mixed") == "16-mixed"
