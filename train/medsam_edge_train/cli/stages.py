"""The stages of training, each a settings dataclass and a function, and presets of their settings.

Presets are the papers' training protocols, and ours for one small machine. Where a paper leaves a value open, the
stage's default stands. Neither paper gives the factor and patience of its ReduceLROnPlateau; an epoch is a pass over
the data.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, cast, get_type_hints


class Stage(NamedTuple):
    """A stage by the names of its parts; only the one that runs is imported."""

    module: str
    function: str
    text: str
    trains: bool = False  # takes whether to resume, and gives a checkpoint; others take what they report progress to

    @property
    def run(self) -> Callable[..., Any]:
        return cast(Callable[..., Any], getattr(import_module(f"medsam_edge_train.{self.module}"), self.function))

    @property
    def config(self) -> type[Any]:
        """The dataclass of its settings."""
        return cast(type[Any], get_type_hints(self.run)["config"])


STAGES = {
    "phantoms": Stage("stages.phantoms", "write_phantoms", "Write synthetic images with masks to train on."),
    "prepare": Stage("prepare.prepare", "prepare", "Turn labelled images and volumes into shards."),
    "embed": Stage("stages.embed", "embed", "Compute a teacher's embeddings once per image."),
    "distill": Stage("stages.distill", "distill", "Train the image encoder on a teacher's embeddings.", True),
    "fit": Stage("stages.fit", "fit", "Train the whole pipeline on images, masks and boxes made of masks.", True),
    "finetune": Stage("stages.fit", "finetune", "Fit, from a trained network.", True),
}

_PAPER: dict[str, Any] = {
    "image_size": 256,
    "images_per_epoch": 0,
    "schedule": "plateau",
    "warmup_steps": 0,
    "ema": 0.0,
}
_REP_MEDSAM = _PAPER | {"architecture": "rep_medsam", "batch_size": 16}

_SMALL: dict[str, Any] = {"image_size": 128, "batch_size": 8, "ema": 0.995, "warmup_steps": 50}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "distill": {
        "rep-medsam": _REP_MEDSAM | {"epochs": 5, "learning_rate": 5e-4},  # Rep-MedSAM, Table 2
        "small": _SMALL  # at the size of MedSAM's embeddings
        | {"image_size": 256, "epochs": 10, "images_per_epoch": 1000, "learning_rate": 1e-3},
    },
    "fit": {
        "rep-medsam": _REP_MEDSAM  # Rep-MedSAM, Table 3
        | {"epochs": 8, "learning_rate": 3e-4, "augmentation": "flips", "pixel_loss": "bce"},
        "class-prompt": _PAPER  # class-prompt Tiny-ViT, Table 2 and section 3.2
        | {
            "architecture": "class_prompt_tinyvit",
            "batch_size": 64,
            "epochs": 20,
            "learning_rate": 5e-4,
            "augmentation": "flips",
            "pixel_loss": "focal",
            "iou_weight": 0.0,
            "select": "paper",
        },
        "small": _SMALL | {"boxes_per_image": 2, "epochs": 12, "learning_rate": 6e-4},
    },
    "finetune": {
        "rep-medsam": _REP_MEDSAM  # Rep-MedSAM, Table 4; section 3.2: CT of the supplementary sets only
        | {
            "epochs": 12,
            "learning_rate": 2e-5,
            "augmentation": "flips+color",
            "pixel_loss": "bce",
            "leave_out": ("CT",),
        },
        "small": _SMALL
        | {
            "image_size": 256,
            "boxes_per_image": 2,
            "epochs": 4,
            "images_per_epoch": 240,
            "learning_rate": 1.5e-4,
            "ema": 0.97,
        },
        # what --qat alone means: few steps, so small that the ranges measured before them stay right
        "qat": {"qat": True, "epochs": 3, "learning_rate": 1e-5, "warmup_steps": 20, "ema": 0.99},
    },
}
