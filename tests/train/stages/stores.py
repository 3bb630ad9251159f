"""Stores of teacher embeddings that tests make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from medsam_edge_train import checkpoint
from medsam_edge_train.data.cases import SPLITS, find_cases
from medsam_edge_train.stages.embed import EmbedConfig, embed, embedding_key
from tests.train.tiny import tiny, write_data


def make_store(folder: Path, size: int = 64) -> EmbedConfig:
    """A finished store of eight images of size × size pixels in shards of three."""
    torch.manual_seed(3)
    teacher = tiny()
    teacher.get_submodule("image_encoder.1").weight.data.fill_(3.0)  # far from where an untrained student is
    checkpoint.write(folder / "teacher.safetensors", teacher, "tiny")
    config = EmbedConfig(
        write_data(folder / "data"),
        folder / "store",
        folder / "teacher.safetensors",
        image_size=size,
        batch_size=2,
        shard_images=3,
        precision="32-true",
    )
    assert embed(config) == config.output
    return config


def keys(config: EmbedConfig) -> list[str]:
    return [embedding_key(split, case) for split in SPLITS for case in find_cases(config.data / split)]


def copy_of(config: EmbedConfig, folder: Path) -> EmbedConfig:
    folder.mkdir()
    for path in config.output.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return replace(config, output=folder)
