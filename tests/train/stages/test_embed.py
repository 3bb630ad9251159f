from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from medsam_edge.errors import CheckpointError, FileMissingError, InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.cli.dry_run import plan
from medsam_edge_train.data.cases import find_cases
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.models import ZOO
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from medsam_edge_train.models.vit import ViT
from medsam_edge_train.stages.distill import DistillConfig, DistillModule, distill, flip
from medsam_edge_train.stages.embed import EmbedConfig, copy_decoder, embed, embedding_key, image_tensor, run_teacher
from medsam_edge_train.stages.store import EmbeddingStore
from tests.train.tiny import tiny, write_data

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EmbedConfig:
    """A finished store of eight images in shards of three."""
    folder = tmp_path_factory.mktemp("embed")
    torch.manual_seed(3)
    teacher = tiny()
    teacher.get_submodule("image_encoder.1").weight.data.fill_(3.0)  # far from where an untrained student is
    checkpoint.write(folder / "teacher.safetensors", teacher, "tiny")
    config = EmbedConfig(
        write_data(folder / "data"),
        folder / "store",
        folder / "teacher.safetensors",
        image_size=64,
        batch_size=2,
        shard_images=3,
        precision="32-true",
    )
    assert embed(config) == config.output
    return config


def keys(config: EmbedConfig) -> list[str]:
    return [embedding_key(split, case) for split in ("train", "val") for case in find_cases(config.data / split)]


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


def copy_of(config: EmbedConfig, folder: Path) -> EmbedConfig:
    folder.mkdir()
    for path in config.output.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return replace(config, output=folder)


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


def test_a_damaged_shard_of_images_that_are_gone_is_forgotten(config: EmbedConfig, tmp_path: Path) -> None:
    fewer = replace(copy_of(config, tmp_path / "store"), data=tmp_path)
    (tmp_path / "val").symlink_to(config.data / "val")
    (fewer.output / "000000.safetensors").unlink()  # images of train/
    embed(fewer)
    EmbeddingStore(fewer.output).check([key for key in keys(config) if key.startswith("val/")])


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"image_size": 64, "shards": []}'])
def test_a_damaged_index_is_refused(config: EmbedConfig, tmp_path: Path, text: str) -> None:
    broken = copy_of(config, tmp_path / "store")
    (broken.output / "index.json").write_text(text)
    for read in (lambda: embed(broken), lambda: EmbeddingStore(broken.output)):
        with pytest.raises(CheckpointError, match=r"embeddings: .*index.json is damaged"):
            read()


def test_data_without_images_are_refused(config: EmbedConfig, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match="data: expected a folder with train or val"):
        embed(replace(config, data=tmp_path, output=tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_another_teacher_or_size_is_refused(config: EmbedConfig, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    checkpoint.write(other, tiny(), "tiny")
    for changed in (replace(config, teacher=other), replace(config, image_size=128)):
        with pytest.raises(InputError, match=r"output: .* holds embeddings of another teacher or image size"):
            embed(changed)


def test_bad_settings_and_stores_are_refused(config: EmbedConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="image_size: expected a positive multiple of 64, got 100"):
        replace(config, image_size=100)
    with pytest.raises(InputError, match="shard_images: expected at least 1, got 0"):
        replace(config, shard_images=0)
    with pytest.raises(FileMissingError, match="embeddings: expected a folder made by `train embed`"):
        EmbeddingStore(tmp_path)
    with pytest.raises(InputError, match="embeddings: 1 images of data have none, for example train/nobody"):
        EmbeddingStore(config.output).check(["train/nobody"])


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


def test_medsam_has_one_size(config: EmbedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = tiny()
    teacher.image_encoder = ViT(256, dim=16, depth=2, heads=2, global_blocks=(1,))
    monkeypatch.setattr(checkpoint, "load", lambda *_: (teacher, "small_vit"))
    config = replace(config, output=tmp_path / "store", image_size=128)
    with pytest.raises(InputError, match="image_size: small_vit needs 64, got 128"):
        embed(config)
    assert not config.output.exists()
    assert embed(replace(config, image_size=64)) == config.output


def test_the_student_gets_the_decoder_and_keeps_its_encoder(config: EmbedConfig) -> None:
    torch.manual_seed(4)
    student, teacher = tiny(), checkpoint.read(config.teacher).state
    own = {key: value.clone() for key, value in student.state_dict().items()}
    assert copy_decoder(config.teacher, student) == []
    for key, value in student.state_dict().items():
        assert torch.equal(value, own[key] if key.startswith("image_encoder") else teacher[key]), key


def test_a_flip_mirrors_each_image_as_told_and_undoes_itself() -> None:
    maps = torch.arange(4.0).reshape(1, 1, 2, 2).repeat(4, 1, 1, 1)  # 0 1 / 2 3
    flips = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    flipped = flip(maps, flips)
    assert flipped.flatten(1).tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    assert torch.equal(flip(flipped, flips), maps)


def distill_config(config: EmbedConfig, output: Path) -> DistillConfig:
    return DistillConfig(
        config.data,
        output,
        embeddings=config.output,
        teacher=config.teacher,
        architecture="tiny",
        image_size=64,
        epochs=15,
        images_per_epoch=0,
        batch_size=5,
        learning_rate=0.1,
        warmup_steps=0,
        ema=0.0,
        workers=0,
        precision="32-true",
    )


def test_distillation_draws_the_student_to_the_teacher(config: EmbedConfig, tmp_path: Path) -> None:
    run = distill_config(config, tmp_path / "run")
    best = distill(run)
    curves = read_curves(run.output)
    assert min(curves["val_mse"].values()) < 0.2 * curves["val_mse"][0]
    assert curves["train_loss"][15] < 0.2 * curves["train_loss"][1]
    student, _ = checkpoint.load(best)
    assert float(checkpoint.read(best).metadata["val_mse"]) == pytest.approx(min(curves["val_mse"].values()), abs=1e-3)
    store, errors = EmbeddingStore(config.output), []
    for case in find_cases(config.data / "val"):
        with torch.no_grad():
            got = student.image_encoder(image_tensor(case, 64)[None])[0]
        errors.append(float((got - store[embedding_key("val", case)].float()).square().mean()))
    assert sum(errors) / len(errors) == pytest.approx(min(curves["val_mse"].values()), rel=1e-3)
    teacher = checkpoint.read(config.teacher).state
    for key, value in student.state_dict().items():  # the decoder is the teacher's, and frozen
        assert key.startswith("image_encoder") or torch.equal(value, teacher[key]), key


def test_a_flipped_image_costs_nothing_when_the_student_is_the_teacher(config: EmbedConfig, tmp_path: Path) -> None:
    # the tiny encoder sees single 4 × 4 patches, so only mirrored ones differ: make it blind to that
    module = DistillModule(replace(distill_config(config, tmp_path), teacher=None)).eval()
    weight = module.network.image_encoder.get_submodule("0").weight
    weight.data = (weight.data + weight.data.flip(-1) + weight.data.flip(-2) + weight.data.flip(-1, -2)) / 4
    images = torch.rand(4, 3, 64, 64)
    flips = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    from medsam_edge_train.stages.distill import Pair

    module.track = lambda *_: None  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        pair = Pair(images, module.network.image_encoder(images), flips)
        assert module.training_step(pair, 0).item() == pytest.approx(0, abs=1e-9)
        moved = pair._replace(embeddings=flip(pair.embeddings, flips))  # what a wrong alignment would compare with
        assert module.training_step(moved, 0).item() > 1e-3


def test_what_does_not_fit_the_store_is_refused(config: EmbedConfig, tmp_path: Path) -> None:
    run = distill_config(config, tmp_path / "run")
    with pytest.raises(InputError, match="image_size: the embeddings are of 64, got 128"):
        distill(replace(run, image_size=128))
    with pytest.raises(FileMissingError, match="embeddings: expected a folder"):
        distill(replace(run, embeddings=tmp_path / "nothing"))
    assert not run.output.exists()


def test_the_index_names_teacher_and_hashes(config: EmbedConfig) -> None:
    index = json.loads((config.output / "index.json").read_text(encoding="utf-8"))
    assert index["teacher"] == "tiny"
    assert len(index["teacher_sha256"]) == 64
    assert sorted(key for shard in index["shards"].values() for key in shard["keys"]) == sorted(keys(config))


def test_a_distillation_that_diverges_is_no_success(config: EmbedConfig, tmp_path: Path) -> None:
    run = replace(distill_config(config, tmp_path / "run"), learning_rate=1e30, gradient_clip=0.0, epochs=1)
    with pytest.raises(InputError, match=r"^learning_rate: .* expected less than 1e\+30"):
        distill(run)
    assert not (tmp_path / "run/best.safetensors").exists()


def test_only_the_encoder_without_its_class_head_is_distilled(
    config: EmbedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, decoder = nn.Conv2d(3, 256, 4, 4), MaskDecoder(depth=1)
    monkeypatch.setitem(ZOO, "tiny_cp", lambda: ClassPromptMedSAM(deepcopy(encoder), PromptEncoder(), decoder))
    run = replace(distill_config(config, tmp_path / "run"), architecture="tiny_cp")
    trained = {name for name, weight in DistillModule(run).network.named_parameters() if weight.requires_grad}
    assert trained == {"image_encoder.weight", "image_encoder.bias"}
    assert f" {256 * 3 * 4 * 4 + 256:,} trained" in plan(run)
    frozen = replace(run, freeze=("image_encoder",))
    assert " 0 trained" in plan(frozen)
    with pytest.raises(InputError, match="freeze: expected to leave a part to train, got image_encoder"):
        distill(frozen)
