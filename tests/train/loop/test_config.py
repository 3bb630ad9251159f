from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medsam_edge.errors import InputError
from tests.train.tiny import tiny_config


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf")])
def test_the_time_is_a_number(data: Path, minutes: float) -> None:
    with pytest.raises(InputError, match="minutes: expected 0 or more"):
        tiny_config(data, Path("run"), minutes=minutes)


def test_the_batch_must_divide_among_the_processes(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="batch_size: expected a multiple of the 3 processes, got 2"):
        tiny_config(data, Path("run"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_size": 100}, "crop_size: expected 0 or a multiple of 64 below image_size, 64, got 100"),
        ({"crop_size": 64}, "crop_size: expected 0 or a multiple of 64 below image_size, 64, got 64"),
        ({"schedule": "plateau", "warmup_steps": 5}, "warmup_steps: expected 0 with the plateau schedule, got 5"),
        ({"freeze": ("neck",)}, "freeze: expected some of image_encoder, prompt_encoder, mask_decoder, got neck"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"precision": "int8"}, "precision: expected one of auto, .*, got 'int8'"),
        ({"workers": -1}, "workers: expected 0 or more, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate: expected 0 or more, got nan"),
        ({"balance": float("nan")}, "balance: expected 0 to 1, got nan"),
        ({"withhold_modality": 1.1}, "withhold_modality: expected 0 to 1, got 1.1"),
        ({"iou_weight": -1.0}, "iou_weight: expected 0 or more, got -1.0"),
        ({"qat": True}, "init: qat starts from a trained checkpoint, got none"),
        ({"ema": 1.0}, "ema: expected 0 or more and less than 1, got 1.0"),
        ({"plateau_factor": 1.0}, "plateau_factor: expected above 0 and less than 1, got 1.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_config(Path("data"), Path("run"), **settings)
