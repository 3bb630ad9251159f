from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from medsam_edge.modality import Modality
from medsam_edge_train.models import build
from medsam_edge_train.models.class_prompt import CLASSES, ClassPromptMedSAM, one_hot, predicted
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder

BOXES = torch.tensor([[10.0, 20.0, 100.0, 120.0], [0.0, 0.0, 64.0, 64.0]])


@pytest.fixture(scope="module")
def network() -> ClassPromptMedSAM:
    torch.manual_seed(0)
    return ClassPromptMedSAM(nn.Conv2d(3, 256, 4, 4), PromptEncoder(), MaskDecoder(depth=1)).eval()


def test_every_modality_is_a_class_in_the_published_order() -> None:
    assert set(CLASSES) == set(Modality)
    published = "CT Dermoscopy Endoscopy Fundus Mammography MR OCT PET US XRay"  # labels 0 to 9
    assert [modality.value for modality in CLASSES[:10]] == published.split()
    assert CLASSES[10] is Modality.MICROSCOPY


@pytest.mark.parametrize(
    ("name", "parameters", "depth"),
    [
        ("class_prompt_tinyvit_code", 10_988_699, 2),
        ("class_prompt_tinyvit", None, 3),
        ("rep_medsam_cp", 10_570_092 + 134_411 + 6_220 + 1_056_768, 2),
    ],
)
def test_sizes_and_published_key_names(name: str, parameters: int | None, depth: int) -> None:
    with torch.device("meta"):
        network = build(name)
    assert parameters in (None, sum(value.numel() for value in network.parameters()))
    assert len(network.mask_decoder.transformer.layers) == depth
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["image_encoder.class_prediction_head.layers.0.weight"] == (256, 256)
    assert shapes["image_encoder.class_prediction_head.layers.2.weight"] == (11, 256)
    assert shapes["cat_encoder.layers.0.weight"] == (512, 11)
    assert shapes["cat_encoder.layers.4.weight"] == (512, 512)
    assert sum(key.startswith("class_encoder.") for key in shapes) == 17


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_the_head_reads_the_pooled_embedding(network: ClassPromptMedSAM, pooling: str) -> None:
    """The dense prompt, which `embed` adds to every row, is no part of the image."""
    images = torch.rand(2, 3, 16, 16)
    network.pooling = pooling  # type: ignore[assignment]
    with torch.inference_mode():
        embedding = network.image_encoder(images).flatten(2)
        pooled = embedding.mean(2) if pooling == "mean" else embedding.sum(2)
        expected = network.image_encoder.get_submodule("class_prediction_head")(pooled)
        torch.testing.assert_close(network.classify(network.embed(images)), expected, rtol=1e-4, atol=1e-5)
    network.pooling = "mean"


def test_tokens_are_class_box_category(network: ClassPromptMedSAM) -> None:
    classes = one_hot([Modality.DERMOSCOPY])  # label 1
    with torch.inference_mode():
        tokens = network.prompts(network.prompt_encoder(BOXES), classes)
        assert tokens.shape == (2, 6, 256)
        torch.testing.assert_close(tokens[:, 2:4], network.prompt_encoder(BOXES))
        torch.testing.assert_close(tokens[:1, :2], network.class_encoder(torch.full((1, 4), 1.0)))
        torch.testing.assert_close(tokens[:1, 4:].flatten(1), network.cat_encoder(classes))
        torch.testing.assert_close(tokens[0, [0, 1, 4, 5]], tokens[1, [0, 1, 4, 5]])


def test_a_given_modality_is_used_and_a_withheld_one_predicted(network: ClassPromptMedSAM) -> None:
    images = torch.rand(2, 3, 16, 16)
    index = torch.tensor([0, 1])
    boxes = BOXES / 16
    with torch.inference_mode():
        own = predicted(network.classify(network.embed(images)))
        other = own.roll(1, dims=1)
        withheld = network(images, boxes, index)
        by_zeros = network(images, boxes, index, classes=torch.zeros(2, 11))
        told_own = network(images, boxes, index, classes=own)
        told_other = network(images, boxes, index, classes=torch.stack([other[0], torch.zeros(11)]))
    assert withheld.class_logits is not None
    assert withheld.class_logits.shape == (2, 11)
    torch.testing.assert_close(by_zeros.planes(16), withheld.planes(16))
    torch.testing.assert_close(told_own.planes(16), withheld.planes(16))
    torch.testing.assert_close(told_other.planes(16)[1], withheld.planes(16)[1])
    assert (told_other.planes(16)[0] - withheld.planes(16)[0]).abs().max() > 1e-4


def test_decode_without_a_class_uses_the_predicted_one(network: ClassPromptMedSAM) -> None:
    with torch.inference_mode():
        rows = network.embed(torch.rand(1, 3, 16, 16))
        own = predicted(network.classify(rows))
        torch.testing.assert_close(network.decode(rows, BOXES), network.decode(rows, BOXES, classes=own))


def test_freezing_the_encoder_leaves_the_class_head_trainable(network: ClassPromptMedSAM) -> None:
    own = deepcopy(network)
    own.freeze(("image_encoder", "prompt_encoder"))
    frozen = {name for name, weight in own.named_parameters() if not weight.requires_grad}
    prompts = {f"prompt_encoder.{name}" for name, _ in own.prompt_encoder.named_parameters()}
    assert frozen == {"image_encoder.weight", "image_encoder.bias"} | prompts
