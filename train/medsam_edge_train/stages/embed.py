"""Teacher embeddings, computed once per image and stored in half precision (Rep-MedSAM, section 2.3).

A store is a folder of safetensors shards and an `index.json`, which says the teacher that made the embeddings, the
bundle by which it did, the image size, and each shard's sha256 and keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge.geometry import Geometry
from medsam_edge.networks.bundle import sha256
from medsam_edge.writing.whole import replacing
from medsam_edge_train.data.cases import SPLITS, Case, find_cases, read_case
from medsam_edge_train.loop.config import Precision
from medsam_edge_train.options import Output
from medsam_edge_train.progress import show_progress
from medsam_edge_train.settings import at_least_one, check, check_choices, is_image_size
from medsam_edge_train.stages.teachers import Teacher, bundle_teacher, network_teacher

INDEX = "index.json"


@dataclass(frozen=True)
class EmbedConfig:
    """Settings of `embed`.

    Attributes:
        data: folder with train/ and val/, each of image/mask folders or shards of `train prepare`.
        output: folder of the store; a store of the same teacher, bundle and image_size is continued.
        teacher: checkpoint of medsam_vit_b or of any other network of the zoo; or a bundle of `medsam-edge convert`,
            whose encoder OpenVINO runs, which is faster on a CPU.
        teacher_checkpoint: the checkpoint that the bundle was converted from; needed with a bundle, and only then.
        teacher_architecture: network of the teacher, if the checkpoint does not name it; a bundle does.
        image_size: side of the student's training square, a multiple of 64; 256 for MedSAM, which sees it at 1024.
        batch_size: images per pass; a bundle takes one after the other.
        shard_images: embeddings per file.
        precision: auto is bf16 if the CPU or GPU computes in it, else f32; a bundle has its own.
    """

    data: Path
    output: Output
    teacher: Path
    teacher_checkpoint: Path | None = None
    teacher_architecture: str | None = None
    image_size: int = 256
    batch_size: int = 8
    shard_images: int = 128
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        check_choices(self)
        check(self, "a positive multiple of 64", is_image_size, "image_size")
        check(self, "at least 1", at_least_one, "batch_size", "shard_images")


def embed(config: EmbedConfig, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Embed every image of both splits, or of the one there is, that is not in the store yet; returns its folder.

    Args:
        progress: told, in a line of text, what there is to do.

    Raises:
        FileMissingError: the data have neither train/ nor val/.
        InputError: the folder holds a store of another teacher, bundle or size; the teacher needs another size; a
            bundle is without its checkpoint, with another, or the other way round.
        CheckpointError, BundleError: the teacher or the store's index cannot be read.
    """
    splits = [split for split in SPLITS if (config.data / split).is_dir()]
    if not splits:
        raise FileMissingError(f"data: expected a folder with {' or '.join(SPLITS)}, got {config.data}")
    cases = [(embedding_key(split, case), case) for split in splits for case in find_cases(config.data / split)]
    teacher = _teacher(config)
    store = StoreWriter(config.output, teacher.made_by)
    done = store.keys()
    missing = [(key, case) for key, case in cases if key not in done]
    progress(f"embed: {len(cases)} images, {len(missing)} to do, teacher {teacher.name}")
    with show_progress("embed", len(missing)) as step:
        for start in range(0, len(missing), config.shard_images):
            store.add(_embed_cases(teacher, missing[start : start + config.shard_images], config, step))
    return config.output


def _teacher(config: EmbedConfig) -> Teacher:
    """Of a folder the bundle in it, else the network of a checkpoint."""
    given = config.teacher_checkpoint
    if config.teacher.is_dir():
        if given is None:
            raise InputError(
                f"teacher_checkpoint: expected the file that the bundle {config.teacher} was converted from"
            )
        return bundle_teacher(config.teacher, given, config.image_size)
    if given is not None:
        raise InputError(f"teacher_checkpoint: expected a bundle as teacher, got {given} beside {config.teacher}")
    return network_teacher(config.teacher, config.teacher_architecture, config.image_size, config.precision)


def _embed_cases(
    teacher: Teacher, cases: Sequence[tuple[str, Case]], config: EmbedConfig, step: Callable[[str], None]
) -> dict[str, Tensor]:
    """(256, S/4, S/4) float16 embeddings by key, computed in batches."""
    tensors: dict[str, Tensor] = {}
    for first in range(0, len(cases), config.batch_size):
        batch = cases[first : first + config.batch_size]
        images = torch.stack([image_tensor(case, config.image_size) for _, case in batch])
        for (key, _), embedding in zip(batch, teacher.embed(images), strict=True):
            tensors[key] = embedding.clone(memory_format=torch.contiguous_format)
            step(key)
    return tensors


def image_tensor(case: Case, size: int) -> Tensor:
    """(3, S, S) float32 in [0, 1]: the image as the sdk hands it to a network, without augmentation."""
    image, labels = read_case(case)
    return torch.from_numpy(Geometry.of(labels.shape, size).image_to_network(image))


def embedding_key(split: str, case: Case) -> str:
    """Name of the case in the store."""
    return f"{split}/{case.key}"


class EmbeddingStore:
    """A store opened for reading; every shard is verified first.

    Raises FileMissingError of a folder without a store, CheckpointError of a missing shard or a damaged shard or index.
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

    `made_by` is that of the `Teacher`. Raises InputError of a folder that holds a store of others, CheckpointError of a
    damaged index.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.made_by = folder, made_by
        self.shards: dict[str, Any] = {}
        if (folder / INDEX).is_file():
            index = _read_index(folder)
            if made_by != {key: index.get(key) for key in made_by}:
                raise InputError(f"output: {folder} holds embeddings of another teacher, bundle or image size")
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
