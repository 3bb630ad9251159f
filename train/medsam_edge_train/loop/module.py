"""A network in training: its optimizer, its metrics, and the state that Lightning does not save by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Sized
from dataclasses import fields
from typing import Any, cast, get_type_hints

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed

from medsam_edge.errors import InputError
from medsam_edge.writing.whole import replacing
from medsam_edge_train import checkpoint
from medsam_edge_train.loop.config import RunConfig
from medsam_edge_train.loop.curves import BEFORE
from medsam_edge_train.loop.loader import ResumableLoader
from medsam_edge_train.loop.processes import merge, rank, world_size
from medsam_edge_train.models import MedSAM, build
from medsam_edge_train.models.quantize import is_quantized

MAY_CHANGE = ("epochs", "minutes", "checkpoint_steps", "workers", "precision")


def lasting_settings(config: RunConfig) -> dict[str, str]:
    """The settings that must not change when a run is resumed, as text: all but `MAY_CHANGE` and paths."""
    hints = get_type_hints(type(config))
    return {
        field.name: str(getattr(config, field.name))
        for field in fields(config)
        if field.name not in MAY_CHANGE and "Path" not in str(hints[field.name])
    }


def starting_network(config: RunConfig) -> MedSAM:
    """Random, or with the weights of `init`.

    Raises:
        FileMissingError, CheckpointError: there is no `init`, or it does not match the architecture.
        InputError: `init` is quantized.
    """
    network = build(config.architecture).reparameterize()
    if config.init is not None:
        start = checkpoint.read(config.init)
        if is_quantized(start.state):
            raise InputError(f"init: {config.init} is fused and quantized; give the network it was made from")
        for line in checkpoint.load_state(network, start.state, config.architecture, config.partial_init):
            print(f"init: {line}", file=sys.stderr)
        checkpoint.set_prompt_kinds(network, start.metadata)
    return network


class StageModule(pl.LightningModule):
    """A network in training. A stage adds `training_step`, `validation_step` and `scores`."""

    headline = "val_dsc"  # the validation metric that is printed after each epoch

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.config = config
        self.network = self.build_network()
        # faster on a CPU; torch's types do not know that a module takes the argument alone
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.freeze(config.freeze)
        self.train()
        self.before: dict[str, float] = {}  # scores before the first step
        self._running: dict[str, list[float]] = {}  # training metrics of the epoch so far: name → [sum, weight]
        self._plateau: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        self._resumed: dict[str, Any] | None = None  # the checkpoint, until training starts

    def build_network(self) -> MedSAM:
        """The network at the start of training, see `starting_network`."""
        return starting_network(self.config)

    def train(self, mode: bool = True) -> StageModule:
        """Frozen parts stay in eval mode, so that their batch statistics are frozen too."""
        super().train(mode)
        for part in self.config.freeze:
            self.network.get_submodule(part).eval()
        return self

    def scores(self) -> dict[str, float]:
        """Metrics of the finished validation over all processes; the highest `val_score` gives the best checkpoint."""
        raise NotImplementedError

    def share_of(self, count: int) -> float:
        """Weight of this process's mean loss over `count` items: the weighted average over processes is then the mean
        over all items."""
        if world_size() == 1:
            return 1.0
        total = torch.tensor(float(count), device=self.device)
        distributed.all_reduce(total)
        return count * world_size() / float(total)

    def track(self, name: str, value: Tensor, weight: int) -> None:
        """Add a value to the epoch's weighted mean of a training metric; the mean is logged after the epoch."""
        entry = self._running.setdefault(name, [0.0, 0.0])
        entry[0] += float(value.detach()) * weight
        entry[1] += weight

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:  # before the first step: training is compared with these scores
            scores = self.before = self.scores()
            if rank() == 0:
                print(f"before training: {self.headline} {scores[self.headline]:.4f}", file=sys.stderr, flush=True)
                with replacing(self.config.output / BEFORE) as partial:
                    partial.write_text(json.dumps(scores, indent=1), encoding="utf-8")
            return
        means = {name: total / max(weight, 1) for name, (total, weight) in merge(self._running).items()}
        for name, value in means.items():
            self.log(name, value, prog_bar=True)
        for name, value in self.scores().items():
            self.log(name, value, prog_bar=name == self.headline)
        if self._plateau is not None:
            self._plateau.step(means["train_loss"])
            self.log("learning_rate", self._plateau.get_last_lr()[0])
        self._running.clear()

    def configure_optimizers(self) -> Any:
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        if not parameters:
            raise InputError(f"freeze: expected to leave a part to train, got {', '.join(self.config.freeze)}")
        decayed = {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.config.weight_decay}
        plain = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
        optimizer = torch.optim.AdamW([decayed, plain], lr=self.config.learning_rate)
        if self.config.schedule == "plateau":
            # stepped by this module: Lightning does not save it after the last step of an epoch
            self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=self.config.plateau_factor, patience=self.config.plateau_patience
            )
            if self._resumed is not None and "plateau" in self._resumed:
                self._plateau.load_state_dict(self._resumed["plateau"])
            return optimizer
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._rate_factor(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _rate_factor(self, step: int, total: int) -> float:
        """Share of the learning rate at one of `total` steps: linear warm-up, then cosine to zero, or constant."""
        warmup = self.config.warmup_steps
        rise = min(1.0, (step + 1) / max(1, warmup))
        if self.config.schedule == "constant":
            return rise
        progress = min(1.0, max(0.0, (step - warmup) / (max(warmup + 1, total) - warmup)))
        return rise * 0.5 * (1 + float(torch.cos(torch.tensor(progress * torch.pi))))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["running"] = merge(self._running)  # one file serves all processes
        loader = cast(ResumableLoader, self.trainer.train_dataloader)
        checkpoint["position"], checkpoint["images"] = loader.position, len(cast(Sized, loader.dataset))
        checkpoint["settings"] = lasting_settings(self.config)
        checkpoint["rng"] = torch.get_rng_state()
        if self._plateau is not None:
            checkpoint["plateau"] = self._plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        before, now = checkpoint.get("settings", {}), lasting_settings(self.config)
        if changed := [name for name, value in sorted(before.items()) if now.get(name) != value]:
            settings = ", ".join(f"{name} {before[name]}" for name in changed)
            raise InputError(f"resume: the run in {self.config.output} was begun with other settings: {settings}")
        self._running = checkpoint["running"] if rank() == 0 else {}
        self._resumed = checkpoint

    def on_train_start(self) -> None:
        if self._resumed is not None:
            loader = cast(ResumableLoader, self.trainer.train_dataloader)
            images = len(cast(Sized, loader.dataset))
            if (before := self._resumed.get("images", images)) != images:
                raise InputError(f"resume: the run was begun with {before} training images, got {images}")
            loader.position = self._resumed["position"]
            torch.set_rng_state(self._resumed["rng"].cpu())
            self._resumed = None
