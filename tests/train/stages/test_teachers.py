"""Embeddings by a bundle: those of PyTorch, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13 as ops

from medsam_edge.errors import BundleError, CheckpointError, FileMissingError, InputError
from medsam_edge.networks.bundle import MANIFEST_FILE, load_bundle, sha256
from medsam_edge_convert.export import export_encoder
from medsam_edge_train import checkpoint
from medsam_edge_train.models import MedSAM, fuse
from medsam_edge_train.stages.embed import EmbedConfig, EmbeddingStore, embed
from medsam_edge_train.stages.teachers import NO_MASK, bundle_teacher
from tests.sdk.tiny_bundle import named, write_tiny_bundle
from tests.train.stages.stores import copy_of, keys, make_store

pytestmark = pytest.mark.usefixtures("tiny_zoo")
SIZE, CHANNELS = 64, 32


def put(bundle: Path, encoder: ov.Model, **changes: Any) -> None:
    """Another encoder, and other fields of the manifest, in a bundle."""
    ov.save_model(encoder, bundle / "encoder.xml", compress_to_fp16=False)
    values = json.loads((bundle / MANIFEST_FILE).read_text(encoding="utf-8"))
    values["files"] |= {name: sha256((bundle / name).read_bytes()) for name in ("encoder.xml", "encoder.bin")}
    (bundle / MANIFEST_FILE).write_text(json.dumps({**values, **changes}), encoding="utf-8")


@pytest.fixture(scope="module")
def torch_config(tmp_path_factory: pytest.TempPathFactory) -> EmbedConfig:
    """The store that PyTorch makes."""
    return make_store(tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def config(torch_config: EmbedConfig, tmp_path_factory: pytest.TempPathFactory) -> EmbedConfig:
    """The same by a bundle of the teacher in f32; its store is not made yet."""
    folder = tmp_path_factory.mktemp("bundle")
    network, _ = checkpoint.load(torch_config.teacher)
    assert network.prompt_encoder.dense().abs().mean() > 0.5  # what is subtracted is not small
    bundle = write_tiny_bundle(folder / "bundle")
    put(
        bundle,
        export_encoder(cast(MedSAM, fuse(network)), SIZE),
        source_sha256=sha256(torch_config.teacher.read_bytes()),
    )
    return replace(
        torch_config, output=folder / "store", teacher=bundle, teacher_checkpoint=torch_config.teacher, batch_size=3
    )


def test_a_bundle_in_f32_gives_pytorchs_embeddings(
    config: EmbedConfig, torch_config: EmbedConfig, tmp_path: Path
) -> None:
    run = replace(config, output=tmp_path / "store")
    lines: list[str] = []
    assert embed(run, lines.append) == run.output
    assert lines == ["embed: 8 images, 8 to do, teacher tiny, f32 bundle"]
    expected, got = EmbeddingStore(torch_config.output), EmbeddingStore(run.output)
    for key in keys(config):
        assert got[key].shape == (CHANNELS, SIZE // 4, SIZE // 4)
        assert got[key].dtype == torch.float16
        torch.testing.assert_close(got[key].float(), expected[key].float(), rtol=2e-3, atol=1e-4)  # steps of halves
    index = json.loads((run.output / "index.json").read_text(encoding="utf-8"))
    assert index["teacher_sha256"] == sha256(torch_config.teacher.read_bytes())
    assert index["bundle"] == {"precision": "f32", "sha256": load_bundle(config.teacher).identity}


def rows_of(size: int, channels: int, height: int, width: int) -> ov.Model:
    """An encoder whose rows are 0, 1, 2, …, whatever the image is."""
    image = ops.parameter([1, 3, size, size], np.float32, name="image")
    rows = np.arange(height * width * channels, dtype=np.float32).reshape(1, height * width, channels)
    nothing = ops.multiply(ops.reduce_sum(image, np.array([0, 1, 2, 3]), keep_dims=False), np.float32(0))
    return named([ops.add(ops.constant(rows), nothing)], [image], ["embedding"])


def test_rows_become_maps_without_the_dense_prompt(tmp_path: Path) -> None:
    """Row 17 of a grid 16 wide is y 1, x 1."""
    torch.save({NO_MASK: torch.tensor([[10.0, 20.0]])}, source := tmp_path / "teacher.pth")
    bundle = write_tiny_bundle(tmp_path / "bundle")
    put(bundle, rows_of(SIZE, 2, 16, 16), source_sha256=sha256(source.read_bytes()))
    teacher = bundle_teacher(bundle, source, SIZE)
    maps = teacher.embed(torch.zeros(2, 3, SIZE, SIZE))
    assert maps.shape == (2, 2, 16, 16)
    assert maps.dtype == torch.float16
    assert maps[1, :, 1, 1].tolist() == [2 * 17 - 10, 2 * 17 + 1 - 20]
    assert maps[0, :, 0, 3].tolist() == [2 * 3 - 10, 2 * 3 + 1 - 20]


def test_the_checkpoint_is_checked_before_it_is_parsed(
    config: EmbedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parsed(path: Path) -> None:
        raise AssertionError(f"{path} is parsed")

    monkeypatch.setattr(checkpoint, "read", parsed)
    (other := tmp_path / "other.pth").write_bytes(b"of another network")
    with pytest.raises(
        InputError, match=r"teacher_checkpoint: expected the file that .* was converted from, of sha256"
    ):
        embed(replace(config, teacher_checkpoint=other))
    with pytest.raises(FileMissingError, match="teacher_checkpoint: no such file"):
        embed(replace(config, teacher_checkpoint=tmp_path / "nothing.pth"))


def test_bundle_and_checkpoint_belong_together(config: EmbedConfig, torch_config: EmbedConfig, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"teacher_checkpoint: expected the file that the bundle .* was converted from"
    ):
        embed(replace(config, teacher_checkpoint=None))
    with pytest.raises(InputError, match="teacher_checkpoint: expected a bundle as teacher, got"):
        embed(replace(torch_config, teacher_checkpoint=torch_config.teacher))
    with pytest.raises(BundleError, match=r"cannot read .*manifest.json"):
        embed(replace(config, teacher=tmp_path))
    assert not config.output.exists()


@pytest.mark.parametrize(
    ("changes", "image_size", "message"),
    [
        ({}, 128, r"image_size: the bundle .* needs 64, got 128"),
        ({"architecture": "medsam_vit_b"}, 64, "teacher: expected the checkpoint of medsam_vit_b itself, got a bundle"),
        (
            {"image_size": 256},
            256,
            r"teacher: expected a bundle whose embedding is \(1, 4096, 32\).*got \(1, 256, 32\)",
        ),
    ],
)
def test_a_bundle_of_another_size_or_grid_is_refused(
    config: EmbedConfig, tmp_path: Path, changes: dict[str, Any], image_size: int, message: str
) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    source = json.loads((config.teacher / MANIFEST_FILE).read_text(encoding="utf-8"))["source_sha256"]
    put(bundle, rows_of(SIZE, CHANNELS, 16, 16), source_sha256=source, **changes)
    with pytest.raises(InputError, match=message):
        embed(replace(config, teacher=bundle, image_size=image_size))
    assert not config.output.exists()


def test_a_checkpoint_without_the_dense_prompt_is_refused(tmp_path: Path) -> None:
    torch.save({"prompt_encoder.other": torch.zeros(1, 2)}, source := tmp_path / "teacher.pth")
    bundle = write_tiny_bundle(tmp_path / "bundle")
    put(bundle, rows_of(SIZE, 2, 16, 16), source_sha256=sha256(source.read_bytes()))
    with pytest.raises(CheckpointError, match=r"teacher_checkpoint: expected .*no_mask_embed.weight of shape"):
        bundle_teacher(bundle, source, SIZE)


def test_embeddings_of_bundle_and_pytorch_are_not_mixed(
    config: EmbedConfig, torch_config: EmbedConfig, tmp_path: Path
) -> None:
    def refused(change: Callable[[], object]) -> None:
        with pytest.raises(InputError, match=r"output: .* holds embeddings of another teacher, bundle or image size"):
            change()

    by_torch = copy_of(torch_config, tmp_path / "torch")
    refused(lambda: embed(replace(config, output=by_torch.output)))
    by_bundle = replace(config, output=tmp_path / "bundle")
    embed(by_bundle)
    refused(lambda: embed(replace(torch_config, output=by_bundle.output)))
    lines: list[str] = []
    embed(by_bundle, lines.append)
    assert lines == ["embed: 8 images, 0 to do, teacher tiny, f32 bundle"]


def test_a_store_made_before_bundles_is_continued(torch_config: EmbedConfig, tmp_path: Path) -> None:
    old = copy_of(torch_config, tmp_path / "store")
    index = json.loads((old.output / "index.json").read_text(encoding="utf-8"))
    assert index.pop("bundle") is None
    (old.output / "index.json").write_text(json.dumps(index), encoding="utf-8")
    lines: list[str] = []
    embed(old, lines.append)
    assert lines == ["embed: 8 images, 0 to do, teacher tiny"]
