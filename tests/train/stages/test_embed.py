from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.data.cases import find_cases
from medsam_edge_train.models.vit import ViT
from medsam_edge_train.stages.embed import (
    EmbedConfig,
    EmbeddingStore,
    embed,
    embedding_key,
    image_tensor,
)
from medsam_edge_train.stages.teachers import run_teacher
from tests.train.stages.stores import copy_of, keys, make_store
from tests.train.tiny import tiny

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EmbedConfig:
    return make_store(tmp_path_factory.mktemp("embed"))


def test_an_unknown_precision_is_refused(config: EmbedConfig) -> None:
    with pytest.raises(InputError, match=r"precision: expected one of auto, .*, got 'bf16'"):
        replace(config, precision="bf16")


def test_the_store_holds_the_teachers_embeddings(config: EmbedConfig) -> None:
    store = EmbeddingStore(config.output)
    store.check(keys(config))
    assert store.image_size == 64
    teacher, _ = checkpoint.load(config.teacher)
    for split in ("train", "val"):
        for case in find_cases(config.data / split):
            with torch.no_grad():
                expected = teacher.image_encoder(image_tensor(case, 64)[None])[0]
            got = store[embedding_key(split, case)]
            assert got.dtype == torch.float16
            torch.testing.assert_close(got.float(), expected, rtol=2e-3, atol=2e-3)


def test_a_finished_store_is_left_alone(config: EmbedConfig) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in config.output.glob("*.safetensors")}
    assert len(before) == 3  # 8 images in shards of 3
    lines: list[str] = []
    embed(config, lines.append)
    assert lines == ["embed: 8 images, 0 to do, teacher tiny"]
    assert {path.name: path.stat().st_mtime_ns for path in config.output.glob("*.safetensors")} == before


def test_data_without_images_are_refused(config: EmbedConfig, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="data: expected a folder with train or val"):
        embed(replace(config, data=tmp_path, output=tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_another_teacher_or_size_is_refused(config: EmbedConfig, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    checkpoint.write(other, tiny(), "tiny")
    for changed in (replace(config, teacher=other), replace(config, image_size=128)):
        with pytest.raises(InputError, match=r"output: .* holds embeddings of another teacher, bundle or image size"):
            embed(changed)


def test_medsam_sees_the_same_square_four_times_larger() -> None:
    class Spy(ViT):
        def __init__(self) -> None:
            nn.Module.__init__(self)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images

    image = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    shown = run_teacher(Spy(), image)
    assert shown.shape == (1, 3, 256, 256)
    assert 0 <= shown.min() < 0.01 and 0.99 < shown.max() <= 1
    torch.testing.assert_close(shown[..., 1::4].mean(), image.mean(), rtol=0, atol=0.01)


def test_medsam_as_teacher_needs_its_own_image_size(
    config: EmbedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tiny()
    teacher.image_encoder = ViT(256, dim=16, depth=2, heads=2, global_blocks=(1,))
    monkeypatch.setattr(checkpoint, "load", lambda *_: (teacher, "small_vit"))
    config = replace(config, output=tmp_path / "store", image_size=128)
    with pytest.raises(InputError, match="image_size: small_vit needs 64, got 128"):
        embed(config)
    assert not config.output.exists()
    assert embed(replace(config, image_size=64)) == config.output


def test_bad_settings_are_refused(config: EmbedConfig) -> None:
    with pytest.raises(InputError, match="image_size: expected a positive multiple of 64, got 100"):
        replace(config, image_size=100)
    with pytest.raises(InputError, match="shard_images: expected at least 1, got 0"):
        replace(config, shard_images=0)


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
