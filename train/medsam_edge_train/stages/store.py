"""Teacher embeddings on disk: a folder of safetensors shards and an `index.json`.

The index says which teacher made the embeddings, at which image size, and each shard's sha256 and keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.networks.bundle import sha256
from medsam_edge.writing.whole import replacing
from medsam_edge_train.data.cases import Case

INDEX = "index.json"


def embedding_key(split: str, case: Case) -> str:
    """Name of the case in the store."""
    return f"{split}/{case.key}"


class EmbeddingStore:
    """A store opened for reading; every shard is verified first.

    Raises:
        FileMissingError: the folder holds no store.
        CheckpointError: a shard is missing, or a shard or the index is damaged.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / INDEX).is_file():
            raise FileMissingError(f"embeddings: expected a folder made by `train embed`, got {folder}")
        index = _read_index(folder)
        for name, entry in index["shards"].items():
            if not _is_whole(folder / name, entry):
                raise CheckpointError(f"embeddings: {folder / name} is missing or damaged; run `train embed` again")
        self.folder, self.image_size = folder, int(index["image_size"])
        self._shard_of = {key: name for name, entry in index["shards"].items() for key in entry["keys"]}
        self._open: dict[str, Any] = {}

    def check(self, keys: Sequence[str]) -> None:
        """Raise InputError if an embedding is missing."""
        if missing := [key for key in keys if key not in self._shard_of]:
            raise InputError(f"embeddings: {len(missing)} images of data have none, for example {missing[0]}")

    def __getitem__(self, key: str) -> Tensor:
        """(256, S/4, S/4) float16."""
        name = self._shard_of[key]
        if name not in self._open:
            self._open[name] = safe_open(self.folder / name, framework="pt")
        return cast(Tensor, self._open[name].get_tensor(key))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}  # each worker process opens the files itself


class StoreWriter:
    """A store that grows shard by shard: new, or continued after the last whole shard.

    Args:
        made_by: teacher, teacher_sha256 and image_size of every embedding in it.

    Raises:
        InputError: the folder holds a store of another teacher or image size.
        CheckpointError: its index is damaged.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.made_by = folder, made_by
        self.shards: dict[str, Any] = {}
        if (folder / INDEX).is_file():
            index = _read_index(folder)
            if made_by != {key: index.get(key) for key in made_by}:
                raise InputError(f"output: {folder} holds embeddings of another teacher or image size")
            self.shards = {name: entry for name, entry in index["shards"].items() if _is_whole(folder / name, entry)}
        self._write_index()  # drops damaged shards even if no image needs embedding again

    def keys(self) -> set[str]:
        """Keys of all embeddings in the store."""
        return {key for entry in self.shards.values() for key in entry["keys"]}

    def add(self, embeddings: dict[str, Tensor]) -> None:
        """Write one shard of (256, S/4, S/4) float16 embeddings by key; it appears whole or not at all."""
        number = 0
        while (name := f"{number:06d}.safetensors") in self.shards:
            number += 1
        with replacing(self.folder / name) as partial:
            save_file(embeddings, partial)
            self.shards[name] = {"sha256": sha256(partial.read_bytes()), "keys": list(embeddings)}
        self._write_index()

    def _write_index(self) -> None:
        with replacing(self.folder / INDEX) as partial:
            partial.write_text(json.dumps({**self.made_by, "shards": self.shards}, indent=1), encoding="utf-8")


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = dict(json.loads((folder / INDEX).read_text(encoding="utf-8")))
        shards = {
            name: {"sha256": str(entry["sha256"]), "keys": list(entry["keys"])}
            for name, entry in index["shards"].items()
        }
        return {**index, "image_size": int(index["image_size"]), "shards": shards}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"embeddings: {folder / INDEX} is damaged; choose another folder") from error


def _is_whole(path: Path, entry: dict[str, Any]) -> bool:
    return path.is_file() and sha256(path.read_bytes()) == entry["sha256"]
