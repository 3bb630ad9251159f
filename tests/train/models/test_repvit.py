from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from medsam_edge_train.models import build
from medsam_edge_train.models.layers import ConvBN, RepDepthwise, Residual, SqueezeExcite
from medsam_edge_train.models.medsam import MedSAM
from medsam_edge_train.models.repvit import BLOCKS, PyramidNeck, RepViT, RepViTBlock

PUBLISHED = Path(__file__).parents[2] / "data" / "rep_medsam.keys.json"


@pytest.fixture(scope="module")
def rep_medsam() -> MedSAM:
    return build("rep_medsam").eval()


def test_keys_shapes_and_types_are_the_published_ones(rep_medsam: MedSAM) -> None:
    state = rep_medsam.state_dict()
    ours = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in state.items()}
    assert ours == json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert len(ours) == 843


def test_keys_are_in_the_published_order(rep_medsam: MedSAM) -> None:
    # optimizer states of training checkpoints count parameters by position
    published = [
        key for key in json.loads(PUBLISHED.read_text(encoding="utf-8")) if key.startswith("image_encoder.features.")
    ]
    assert [key for key in rep_medsam.state_dict() if key.startswith("image_encoder.features.")] == published


@pytest.mark.parametrize(
    ("prefix", "entries", "parameters"),
    [
        ("", 843, 10_570_092),
        ("image_encoder.", 706, 6_505_532),
        ("prompt_encoder.", 17, 6_220),
        ("mask_decoder.", 120, 4_058_340),
    ],
)
def test_entries_and_parameters_are_as_many_as_published(
    rep_medsam: MedSAM, prefix: str, entries: int, parameters: int
) -> None:
    assert sum(key.startswith(prefix) for key in rep_medsam.state_dict()) == entries
    assert sum(p.numel() for key, p in rep_medsam.named_parameters() if key.startswith(prefix)) == parameters


@pytest.mark.parametrize("side", [64, 128])
def test_the_published_encoder_embeds_at_a_quarter(rep_medsam: MedSAM, side: int) -> None:
    with torch.no_grad():
        embedding = rep_medsam.image_encoder(torch.rand(1, 3, side, side))
    assert embedding.shape == (1, 256, side // 4, side // 4)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_the_small_encoder_embeds_at_a_quarter(side: int) -> None:
    encoder = build("rep_medsam_s").eval().image_encoder
    with torch.no_grad():
        assert encoder(torch.rand(2, 3, side, side)).shape == (2, 256, side // 4, side // 4)


def test_the_blocks_have_the_published_strides_gates_and_widths() -> None:
    assert len(BLOCKS) == 26
    assert [index for index, (_, stride, _) in enumerate(BLOCKS, 1) if stride == 2] == [4, 8]
    squeezed = [index for index, (_, _, squeeze) in enumerate(BLOCKS, 1) if squeeze]
    assert squeezed == [1, 5, 9, 11, 13, 15, 17, 19, 21, 25]
    assert [width for width, _, _ in BLOCKS] == [56] * 3 + [112] * 4 + [224] * 16 + [448] * 3


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "squeeze", "residual"),
    [(8, 8, 1, True, True), (8, 8, 1, False, True), (8, 16, 2, False, True), (8, 16, 1, False, False)],
)
def test_a_block_has_its_shape_gate_and_residual(
    inputs: int, outputs: int, stride: int, squeeze: bool, residual: bool
) -> None:
    block = RepViTBlock(inputs, outputs, stride, squeeze, nn.GELU).eval()
    assert block(torch.rand(1, inputs, 6, 6)).shape == (1, outputs, 6 // stride, 6 // stride)
    assert isinstance(block.channel_mixer, Residual) is residual
    assert any(isinstance(part, SqueezeExcite) for part in block.modules()) is squeeze
    assert isinstance(next(iter(block.token_mixer)), RepDepthwise if stride == 1 else ConvBN)


def test_rep_medsam_has_gelu_and_rep_medsam_s_relu() -> None:
    def kinds(network: MedSAM) -> set[type[nn.Module]]:
        return {type(part) for part in network.image_encoder.modules() if isinstance(part, nn.GELU | nn.ReLU)}

    assert kinds(build("rep_medsam")) == {nn.GELU}
    assert kinds(build("rep_medsam_s")) == {nn.ReLU}


def test_the_small_encoder_shares_the_blocks(rep_medsam: MedSAM) -> None:
    small = build("rep_medsam_s").state_dict()
    for key, value in rep_medsam.state_dict().items():
        if key.startswith("image_encoder.features."):
            assert small[key].shape == value.shape, key


def test_a_neck_is_given_the_four_stages() -> None:
    class Spy(nn.Module):
        def forward(self, stages: list[torch.Tensor]) -> torch.Tensor:
            self.shapes = [tuple(stage.shape[1:]) for stage in stages]
            return stages[-1]

    spy = Spy()
    with torch.no_grad():
        RepViT(spy, (2, 2), nn.ReLU).eval()(torch.rand(1, 3, 64, 64))
    assert spy.shapes == [(56, 16, 16), (112, 8, 8), (224, 4, 4), (448, 4, 4)]


def test_the_pyramid_neck_enlarges_coarse_stages() -> None:
    neck = PyramidNeck().eval()
    stages = [torch.zeros(1, width, side, side) for width, side in ((56, 8), (112, 4), (224, 2), (448, 2))]
    with torch.no_grad():
        still = neck(stages)
        for index, side in enumerate((8, 4, 2, 2)):
            moved = [stage.clone() for stage in stages]
            moved[index][:, :, : side // 2] = 1.0  # the upper half of one stage
            out = neck(moved)
            assert out.shape == (1, 256, 8, 8)
            assert (out - still)[:, :, 0].abs().max() > 1e-3, index  # every stage reaches the embedding
