from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from medsam_edge.errors import FileMissingError, InputError
from medsam_edge_train import checkpoint
from medsam_edge_train.cli.dry_run import plan
from medsam_edge_train.data.cases import find_cases
from medsam_edge_train.loop.curves import read_curves
from medsam_edge_train.models import ZOO, MedSAM
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM
from medsam_edge_train.models.layers import LayerNorm2d, named, sam_neck
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from medsam_edge_train.models.repvit import PyramidNeck
from medsam_edge_train.stages.distill import (
    LAST_NORMS,
    DistillConfig,
    DistillData,
    DistillModule,
    EmbeddedImages,
    copy_decoder,
    copy_norm,
    distill,
    flip,
)
from medsam_edge_train.stages.embed import EmbedConfig, EmbeddingStore, embedding_key, image_tensor
from tests.train.stages.stores import make_store
from tests.train.tiny import tiny

pytestmark = pytest.mark.usefixtures("tiny_zoo")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EmbedConfig:
    return make_store(tmp_path_factory.mktemp("embed"))


def test_the_student_gets_the_decoder_and_keeps_its_encoder(config: EmbedConfig) -> None:
    torch.manual_seed(4)
    student, teacher = tiny(), checkpoint.read(config.teacher).state
    own = {key: value.clone() for key, value in student.state_dict().items()}
    assert copy_decoder(config.teacher, student) == []
    for key, value in student.state_dict().items():
        assert torch.equal(value, own[key] if key.startswith("image_encoder") else teacher[key]), key


def of_neck(neck: nn.Module) -> MedSAM:
    """A network that has little but the neck of its image encoder."""
    return MedSAM(named(stem=nn.Conv2d(3, 8, 4, 4), neck=neck), PromptEncoder(), MaskDecoder(depth=1))


@pytest.mark.parametrize("neck", [sam_neck(8), PyramidNeck((8,))])
def test_the_students_last_norm_starts_from_the_teachers(tmp_path: Path, neck: nn.Module) -> None:
    teacher, student = of_neck(sam_neck(8)), of_neck(neck)
    teacher.image_encoder.load_state_dict(
        {"neck.3.weight": torch.full((256,), 0.1), "neck.3.bias": torch.arange(256) / 256}, strict=False
    )
    checkpoint.write(path := tmp_path / "teacher.safetensors", teacher, "tiny")
    before = {key: value.clone() for key, value in student.state_dict().items()}
    norm = "image_encoder.neck.norm" if isinstance(neck, PyramidNeck) else "image_encoder.neck.3"
    assert copy_norm(path, student) == f"{norm} starts from image_encoder.neck.3"
    after = student.state_dict()
    assert after[f"{norm}.weight"].tolist() == pytest.approx([0.1] * 256)
    assert after[f"{norm}.bias"].tolist() == [number / 256 for number in range(256)]
    assert {key for key in after if not torch.equal(after[key], before[key])} == {f"{norm}.weight", f"{norm}.bias"}


def test_without_two_norms_of_one_shape_the_student_stays_as_it_is(tmp_path: Path) -> None:
    narrow = of_neck(nn.Sequential(*sam_neck(8)[:3], LayerNorm2d(32)))
    for name, network in (("none", tiny()), ("narrow", narrow), ("teacher", of_neck(sam_neck(8)))):
        checkpoint.write(tmp_path / f"{name}.safetensors", network, "tiny")
    student = of_neck(sam_neck(8))
    before = {key: value.clone() for key, value in student.state_dict().items()}
    assert copy_norm(tmp_path / "none.safetensors", student).endswith("the teacher's encoder ends in none")
    assert copy_norm(tmp_path / "narrow.safetensors", student).endswith("expected shape (256,), got (32,)")
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert copy_norm(tmp_path / "teacher.safetensors", tiny()).endswith("the student's encoder ends in none")


@pytest.mark.parametrize("architecture", sorted(set(ZOO)))
def test_every_encoder_of_the_zoo_ends_in_a_norm_that_is_found(architecture: str) -> None:
    with torch.device("meta"):
        network = ZOO[architecture]()
    norms = [name for name, part in network.named_modules() if isinstance(part, LayerNorm2d)]
    last = [name for name in norms if name.startswith("image_encoder.")][-1]
    assert last in LAST_NORMS


def test_a_line_says_what_the_last_norm_starts_from(
    config: EmbedConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    DistillModule(distill_config(config, tmp_path / "run"))
    assert capsys.readouterr().err == "teacher: the last norm is not copied: the student's encoder ends in none\n"


def test_flip_mirrors_each_image_by_its_row_and_is_its_own_inverse() -> None:
    maps = torch.arange(4.0).reshape(1, 1, 2, 2).repeat(4, 1, 1, 1)  # 0 1 / 2 3
    flips = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    flipped = flip(maps, flips)
    assert flipped.flatten(1).tolist() == [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    assert torch.equal(flip(flipped, flips), maps)


def test_seven_of_eight_batches_are_crops_with_the_same_part_of_the_embedding(tmp_path: Path) -> None:
    made = make_store(tmp_path, 128)
    cases, teacher = find_cases(made.data / "train"), checkpoint.load(made.teacher)[0]
    data = DistillData(cases, "train", EmbeddingStore(made.output), seed=0, crop_size=64, batch_size=2)
    sides = []
    for position in range(0, 32, 2):
        image, embedding, _ = data[(0, position, position % len(cases))]
        with torch.no_grad():  # the tiny encoder sees single 4 × 4 patches, so a crop's embedding is the crop of it
            assert torch.allclose(teacher.image_encoder(image[None])[0], embedding.float(), atol=2e-3)
        sides.append(image.shape[-1])
        assert embedding.shape[-1] == image.shape[-1] // 4
    assert sides == ([64] * 7 + [128]) * 2
    assert data[0].images.shape[-1] == 128


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


def test_distillation_lowers_the_error_to_the_teacher(config: EmbedConfig, tmp_path: Path) -> None:
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


def test_the_loss_of_flipped_images_is_zero_if_the_student_is_the_teacher(config: EmbedConfig, tmp_path: Path) -> None:
    # the tiny encoder sees single 4 × 4 patches, so only mirrored ones differ: make it blind to that
    module = DistillModule(replace(distill_config(config, tmp_path), teacher=None)).eval()
    weight = module.network.image_encoder.get_submodule("0").weight
    weight.data = (weight.data + weight.data.flip(-1) + weight.data.flip(-2) + weight.data.flip(-1, -2)) / 4
    images = torch.rand(4, 3, 64, 64)
    flips = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    module.track = lambda *_: None  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        pair = EmbeddedImages(images, module.network.image_encoder(images), flips)
        assert module.training_step(pair, 0).item() == pytest.approx(0, abs=1e-9)
        moved = pair._replace(embeddings=flip(pair.embeddings, flips))  # what a wrong alignment would compare with
        assert module.training_step(moved, 0).item() > 1e-3


def test_another_image_size_or_a_missing_store_is_refused(config: EmbedConfig, tmp_path: Path) -> None:
    run = distill_config(config, tmp_path / "run")
    with pytest.raises(InputError, match="image_size: the embeddings are of 64, got 128"):
        distill(replace(run, image_size=128))
    with pytest.raises(FileMissingError, match="embeddings: expected a folder"):
        distill(replace(run, embeddings=tmp_path / "nothing"))
    assert not run.output.exists()


def test_a_diverged_distillation_is_an_error_and_leaves_no_best_checkpoint(config: EmbedConfig, tmp_path: Path) -> None:
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
