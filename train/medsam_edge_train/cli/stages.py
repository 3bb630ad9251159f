"""The stages of training: each a settings dataclass and a function."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Stage(NamedTuple):
    """A stage by the names of its parts; only the one that runs is imported.

    Attributes:
        trains: takes whether to resume, and gives a checkpoint; others take what they report progress to.
    """

    module: str
    config: str
    function: str
    text: str
    trains: bool = False

    def part(self, name: str) -> Any:
        """What its module calls by this name."""
        return getattr(import_module(f"medsam_edge_train.{self.module}"), name)


STAGES = {
    "phantoms": Stage(
        "stages.phantoms", "PhantomConfig", "write_phantoms", "Write synthetic images with masks to train on."
    ),
    "prepare": Stage("prepare.prepare", "PrepareConfig", "prepare", "Turn labelled images and volumes into shards."),
    "embed": Stage("stages.embed", "EmbedConfig", "embed", "Compute a teacher's embeddings once per image."),
    "distill": Stage(
        "stages.distill", "DistillConfig", "distill", "Train the image encoder on a teacher's embeddings.", True
    ),
    "fit": Stage(
        "stages.fit", "FitConfig", "fit", "Train the whole pipeline on images, masks and boxes made of masks.", True
    ),
    "finetune": Stage("stages.fit", "FitConfig", "finetune", "Fit, from a trained network.", True),
}
