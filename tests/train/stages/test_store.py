from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge_train.stages.embed import EmbedConfig, embed
from medsam_edge_train.stages.store import EmbeddingStore
from tests.train.stages.stores import copy_of, keys, make_store

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EmbedConfig:
    return make_store(tmp_path_factory.mktemp("embed"))


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"image_size": 64, "shards": []}'])
def test_a_damaged_index_is_refused(config: EmbedConfig, tmp_path: Path, text: str) -> None:
    broken = copy_of(config, tmp_path / "store")
    (broken.output / "index.json").write_text(text)
    for read in (lambda: embed(broken), lambda: EmbeddingStore(broken.output)):
        with pytest.raises(CheckpointError, match=r"embeddings: .*index.json is damaged"):
            read()


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_lost_or_damaged_shard_is_noticed_and_made_again(config: EmbedConfig, tmp_path: Path, damage: str) -> None:
    broken = copy_of(config, tmp_path / "store")
    shard = broken.output / "000001.safetensors"
    if damage == "missing":
        shard.unlink()
    else:
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        shard.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"000001.safetensors is missing or damaged"):
        EmbeddingStore(broken.output)
    lines: list[str] = []
    embed(broken, lines.append)
    assert lines[0] == "embed: 8 images, 3 to do, teacher tiny"
    EmbeddingStore(broken.output).check(keys(config))


def test_a_missing_shard_leaves_the_index_even_if_no_image_needs_it(config: EmbedConfig, tmp_path: Path) -> None:
    fewer = replace(copy_of(config, tmp_path / "store"), data=tmp_path)
    (tmp_path / "val").symlink_to(config.data / "val")
    (fewer.output / "000000.safetensors").unlink()  # images of train/
    embed(fewer)
    EmbeddingStore(fewer.output).check([key for key in keys(config) if key.startswith("val/")])


def test_the_index_names_teacher_and_hashes(config: EmbedConfig) -> None:
    index = json.loads((config.output / "index.json").read_text(encoding="utf-8"))
    assert index["teacher"] == "tiny"
    assert len(index["teacher_sha256"]) == 64
    assert sorted(key for shard in index["shards"].values() for key in shard["keys"]) == sorted(keys(config))


def test_a_missing_store_and_a_missing_embedding_are_refused(config: EmbedConfig, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="embeddings: expected a folder made by `train embed`"):
        EmbeddingStore(tmp_path)
    with pytest.raises(InputError, match="embeddings: 1 images of data have none, for example train/nobody"):
        EmbeddingStore(config.output).check(["train/nobody"])
