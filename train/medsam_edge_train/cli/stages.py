"""The stages of training: each a settings dataclass and a function."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, cast, get_type_hints


class Stage(NamedTuple):
    """A stage by the names of its parts; only the one that runs is imported.

    Attributes:
        trains: takes whether to resume, and gives a checkpoint; others take what they report progress to.
    """

    module: str
    function: str
    text: str
    trains: bool = False

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
