"""Teacher embeddings on disk: safetensors shards and an index with each shard's sha256 and keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.networks.bundle import sha256
from medsam_edge.writing.whole import replacing

INDEX = "index.json"


def write_index(folder: Path, made_by: dict[str, Any], shards: dict[str, Any]) -> None:
    with replacing(folder / INDEX) as partial:
        partial.write_text(json.dumps({**made_by, "shards": shards}, indent=1), encoding="utf-8")


def read_index(folder: Path) -> dict[str, Any]:
    try:
        index = dict(json.loads((folder / INDEX).read_text(encoding="utf-8")))
        shards = {
            name: {"sha256": str(own["sha256"]), "keys": list(own["keys"])} for name, own in index["shards"].items()
        }
        return {**index, "image_size": int(index["image_size"]), "shards": shards}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"embeddings: {folder / INDEX} is damaged; choose another folder") from error


def is_whole(path: Path, entry: dict[str, Any]) -> bool:
    return path.is_file() and sha256(path.read_bytes()) == entry["sha256"]


def next_name(shards: dict[str, Any]) -> str:
    number = 0
    while f"{number:06d}.safetensors" in shards:
        number += 1
    return f"{number:06d}.safetensors"


@dataclass
class EmbeddingStore:
    """A store opened for reading; every shard is verified first.

    Raises:
        FileMissingError: no store there, or a shard is gone.
        CheckpointError: a shard or the index is damaged.
    """

    folder: Path
    image_size: int = field(init=False)
    _shard_of: dict[str, str] = field(init=False, repr=False)
    _open: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.folder / INDEX).is_file():
            raise FileMissingError(f"embeddings: expected a folder made by `train embed`, got {self.folder}")
        index = read_index(self.folder)
        self.image_size = index["image_size"]
        for name, entry in index["shards"].items():
            if not is_whole(self.folder / name, entry):
                raise CheckpointError(
                    f"embeddings: {self.folder / name} is missing or damaged; run `train embed` again"
                )
        self._shard_of = {key: name for name, entry in index["shards"].items() for key in entry["keys"]}

    def check(self, keys: Sequence[str]) -> None:
        """Raise InputError where an embedding is missing."""
        missing = [key for key in keys if key not in self._shard_of]
        if missing:
            raise InputError(f"embeddings: {len(missing)} images of data have none, for one {missing[0]}")

    def __getitem__(self, key: str) -> Tensor:
        """(256, S/4, S/4) float16."""
        name = self._shard_of[key]
        if name not in self._open:
            self._open[name] = safe_open(self.folder / name, framework="pt")
        tensor: Tensor = self._open[name].get_tensor(key)
        return tensor

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # each worker process opens its own
