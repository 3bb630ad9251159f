"""The settings that all training stages share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from medsam_edge.errors import InputError
from medsam_edge_train.data.sampling import BalanceBy
from medsam_edge_train.loop.processes import world_size
from medsam_edge_train.models import TEACHER
from medsam_edge_train.models.medsam import BOXES_ALONE
from medsam_edge_train.options import Output
from medsam_edge_train.settings import at_least_one, check, check_choices, is_image_size, is_share, not_negative

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder", BOXES_ALONE)
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class RunConfig:
    """Settings of every training stage.

    Unless `workers` is 0, a program of your own trains under `if __name__ == "__main__"`: each worker imports it anew.

    Attributes:
        data: folder with train/ and val/, each of image/mask folders or shards of `train prepare`.
        output: folder for logs, curves.png, last.ckpt (to resume from) and best.safetensors (the result).
        architecture: name of the network.
        init: checkpoint to start from; none for random weights.
        partial_init: load the tensors of init that fit and report the rest, instead of refusing a mismatch.
        freeze: parts that are not trained: image_encoder, prompt_encoder, mask_decoder, or boxes, all that masks of
            boxes alone depend on (validation then scores masks corrected by a click); fit always trains the class head
            in the image encoder of a class-prompt network.
        image_size: side of the training square, a multiple of 64; the trained network is used at 256.
        crop_size: side of square crops, around one object in fit, anywhere in distill, that seven of eight batches show
            instead of whole images, at the same scale and less cost; a multiple of 64, 0 for whole images in all.
        epochs: number of epochs.
        images_per_epoch: draws per epoch, over all processes; 0 for every image once.
        balance: exponent of the shares of modalities, and of the data sets (folders) in each, among images_per_epoch
            draws: 0 draws modalities and data sets equally often, 1 images.
        balance_by: what is balanced: modality (and the data sets in each), or dataset, whatever its modality.
        batch_size: images per step, over all processes.
        learning_rate: learning rate of AdamW after the warm-up.
        weight_decay: weight decay of AdamW, applied to matrices only.
        warmup_steps: steps of linear warm-up (not with plateau).
        schedule: cosine lowers the learning rate to zero, constant keeps it, plateau lowers it when the training loss
            stops falling.
        plateau_factor: factor by which plateau lowers the learning rate.
        plateau_patience: epochs without a lower training loss before plateau lowers the learning rate.
        gradient_clip: largest norm of the gradient; 0 for no limit.
        ema: decay of the averaged weights that are validated and saved; 0 for no averaging.
        early_stop: epochs without a better validation score before the run ends; 0 for no early stop.
        validation: folder of validation images, <Modality>/<dataset>/images and masks; none for data's val/.
        val_per_modality: largest number of validation images per modality after each epoch.
        checkpoint_steps: steps between two saves of last.ckpt within an epoch; 0 for epoch ends only.
        minutes: wall time after which the run stops at a step and can be resumed; 0 for no limit.
        workers: processes that prepare images.
        precision: auto is bf16 if the CPU or GPU computes in it, else f32.
        seed: seed of initial weights, draws and augmentation.
    """

    data: Path
    output: Output
    architecture: str = "efficient_medsam"
    init: Path | None = None
    partial_init: bool = False
    freeze: tuple[str, ...] = ()
    image_size: int = 256
    crop_size: int = 0
    epochs: int = 40
    images_per_epoch: int = 2000
    balance: float = 0.5
    balance_by: BalanceBy = "modality"
    batch_size: int = 16
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    warmup_steps: int = 200
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    plateau_factor: float = 0.5
    plateau_patience: int = 1
    gradient_clip: float = 1.0
    ema: float = 0.998
    early_stop: int = 0
    validation: Path | None = None
    val_per_modality: int = 20
    checkpoint_steps: int = 0
    minutes: float = 0.0
    workers: int = 1
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choices(self)
        check(self, "a network that can be trained", lambda name: name != TEACHER, "architecture")
        check(self, "a positive multiple of 64", is_image_size, "image_size")
        crops = f"0 or a multiple of 64 below image_size, {self.image_size}"
        check(self, crops, lambda side: side % 64 == 0 and 0 <= side < self.image_size, "crop_size")
        check(self, "at least 1", at_least_one, "epochs", "batch_size", "val_per_modality")
        check(self, "0 or more", not_negative, "learning_rate", "weight_decay", "warmup_steps", "plateau_patience")
        check(self, "0 or more", not_negative, "gradient_clip", "early_stop", "checkpoint_steps", "minutes")
        check(self, "0 or more", not_negative, "workers", "seed")
        check(self, "0 to 1", is_share, "balance")
        check(self, "0 or more and less than 1", lambda value: 0 <= value < 1, "ema")
        check(self, "above 0 and less than 1", lambda value: 0 < value < 1, "plateau_factor")
        check(self, "0 or at least batch_size", lambda count: not 0 != count < self.batch_size, "images_per_epoch")
        if self.schedule == "plateau":
            check(self, "0 with the plateau schedule", lambda steps: steps == 0, "warmup_steps")
        processes = f"a multiple of the {world_size()} processes"
        check(self, processes, lambda size: size % world_size() == 0, "batch_size")
        if unknown := set(self.freeze) - set(PARTS):
            raise InputError(f"freeze: expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")


def choose_precision(wanted: str) -> str:
    """Lightning's name of a precision; `auto` is bf16 on hardware that multiplies in it, else f32."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if fast else "32-true"
