from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medsam_edge_train.models import build
from medsam_edge_train.models.layers import (
    ConvBN,
    Fusible,
    LayerNorm2d,
    RepDepthwise,
    Residual,
    SqueezeExcite,
    fold_batch_norm,
    fuse,
)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, and batch norms with random statistics, gains and offsets; in eval mode."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                bound = (3 / part.weight[0].numel()) ** 0.5
                uniform(part.weight, -bound, bound)
                if part.bias is not None:
                    uniform(part.bias, -0.5, 0.5)
            elif isinstance(part, nn.BatchNorm2d):
                uniform(part.weight, 0.5, 1.5)
                uniform(part.bias, -0.5, 0.5)
                assert part.running_mean is not None and part.running_var is not None
                uniform(part.running_mean, -0.5, 0.5)
                uniform(part.running_var, 0.5, 2.0)
    return module.eval()


def batch_norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "groups"),
    [(6, 10, 1, 1, 1), (6, 10, 3, 1, 1), (6, 10, 3, 2, 1), (6, 6, 3, 1, 6), (6, 6, 3, 2, 6), (6, 12, 5, 2, 3)],
)
def test_conv_bn_fuses_exactly(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
    block = randomise(ConvBN(inputs, outputs, kernel, stride, groups))
    assert isinstance(block, ConvBN)
    x = torch.randn(2, inputs, 9, 12, generator=torch.Generator().manual_seed(1))
    fused = block.fuse()
    assert isinstance(fused, nn.Conv2d)
    with torch.no_grad():
        expected, got = block(x), fused(x)
    assert expected.shape == (2, outputs, -(-9 // stride), -(-12 // stride))
    assert (got - expected).abs().max() < 1e-5
    assert (expected - nn.functional.conv2d(x, block.c.weight, None, stride, kernel // 2, 1, groups)).abs().max() > 0.1


def test_fold_batch_norm_keeps_a_bias() -> None:
    pair = randomise(nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5)))
    conv, norm = pair
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (fold_batch_norm(conv, norm)(x) - pair(x)).abs().max() < 1e-5


def test_fold_batch_norm_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1, bias=True), nn.BatchNorm2d(1, eps=0.0)
    with torch.no_grad():
        conv.weight.fill_(3.0)
        conv.bias.fill_(1.0)  # type: ignore[union-attr]
        norm.running_mean.fill_(2.0)  # type: ignore[union-attr]
        norm.running_var.fill_(4.0)  # type: ignore[union-attr]
        norm.weight.fill_(5.0)
        norm.bias.fill_(7.0)
    folded = fold_batch_norm(conv, norm)
    assert folded.weight.item() == 7.5  # 3 · 5 / √4
    assert folded.bias is not None and folded.bias.item() == 4.5  # (1 - 2) · 5 / √4 + 7


@pytest.mark.parametrize("channels", [1, 8, 20])
def test_rep_depthwise_fuses_exactly(channels: int) -> None:
    block = randomise(RepDepthwise(channels))
    assert isinstance(block, RepDepthwise)
    x = torch.randn(2, channels, 7, 10, generator=torch.Generator().manual_seed(1))
    fused = block.fuse()
    assert isinstance(fused, nn.Conv2d)
    assert fused.weight.shape == (channels, 1, 3, 3)
    assert fused.groups == channels
    with torch.no_grad():
        assert (fused(x) - block(x)).abs().max() < 1e-5


def test_rep_depthwise_adds_its_three_branches() -> None:
    block = randomise(RepDepthwise(4))
    assert isinstance(block, RepDepthwise)
    x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        branches = block.conv.bn(block.conv.c(x)) + block.conv1(x) + x
        torch.testing.assert_close(block(x), block.bn(branches))


def test_fusing_does_not_change_the_source() -> None:
    block = randomise(RepDepthwise(4))
    before = {key: value.clone() for key, value in block.state_dict().items()}
    assert isinstance(block, RepDepthwise)
    block.fuse()
    for key, value in block.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_fuse_reaches_nested_parts_in_place() -> None:
    tree = nn.Sequential(ConvBN(3, 8, 3, 2), nn.GELU(), Residual(nn.Sequential(RepDepthwise(8), ConvBN(8, 8))))
    randomise(tree)
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = tree(x)
        assert batch_norms(tree) == 4
        assert fuse(tree) is tree
        assert batch_norms(tree) == 0
        assert not any(isinstance(part, Fusible) for part in tree.modules())
        assert (tree(x) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("block", [ConvBN(4, 4, 3), RepDepthwise(4)], ids=["ConvBN", "RepDepthwise"])
def test_fuse_of_a_fusible_module_itself(block: nn.Module) -> None:
    randomise(block)
    x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = block(x)
        fused = fuse(block)
        assert batch_norms(fused) == 0
        assert (fused(x) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("architecture", ["rep_medsam", "rep_medsam_s"])
def test_a_whole_encoder_fuses(architecture: str) -> None:
    # in double precision: with random statistics the activations grow to a million through 26 blocks
    encoder = randomise(build(architecture).image_encoder).double()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        expected = encoder(x)
        fused = fuse(encoder)
        assert batch_norms(fused) == 0
        assert (fused(x) - expected).abs().max() < 1e-9 * expected.abs().max()
    if architecture == "rep_medsam":
        assert sum(p.numel() for p in fused.parameters()) == 6_463_840


@pytest.mark.parametrize("architecture", ["rep_medsam", "rep_medsam_s"])
def test_a_whole_encoder_fuses_in_single_precision(architecture: str) -> None:
    encoder = randomise(build(architecture).image_encoder)
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        encoder.train()(images)  # statistics that the activations really have
        expected = encoder.eval()(images[:1])
        assert (fuse(encoder)(images[:1]) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("channels", "reduced"), [(56, 16), (112, 32), (224, 56), (448, 112), (8, 8)])
def test_squeeze_excite_widths(channels: int, reduced: int) -> None:
    assert SqueezeExcite(channels).fc1.out_channels == reduced


def test_squeeze_excite_by_hand() -> None:
    block = SqueezeExcite(2)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        block.fc1.weight[0, 0] = 1.0  # the first channel's mean
        block.fc2.weight[1, 0] = 2.0
        x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[1.0, 1.0], [1.0, 4.0]]]])
        y = block(x)
    torch.testing.assert_close(y[:, 0], x[:, 0] * 0.5)
    torch.testing.assert_close(y[:, 1], x[:, 1] * torch.sigmoid(torch.tensor(6.0)))  # mean 3, times 2
    torch.testing.assert_close(block(-x)[:, 1], -x[:, 1] * 0.5)  # ReLU cuts the negative mean


def test_residual_adds_its_input() -> None:
    x = torch.tensor([1.0, -2.0])
    assert Residual(nn.ReLU())(x).tolist() == [2.0, -2.0]


def test_layer_norm_2d_by_hand() -> None:
    layer = LayerNorm2d(2, eps=0.0)
    x = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
    assert layer(x).flatten().tolist() == [-1.0, 1.0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, 10.0]))
        layer.bias.copy_(torch.tensor([5.0, 7.0]))
    assert layer(x).flatten().tolist() == [3.0, 17.0]


def test_layer_norm_2d_is_over_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = LayerNorm2d(5)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(5, generator=generator))
        layer.bias.copy_(torch.randn(5, generator=generator))
    x = torch.randn(2, 5, 3, 4, generator=generator)
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    normal = (x - mean) / torch.sqrt(variance + 1e-6)
    expected = normal * layer.weight[:, None, None] + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.rows(x.movedim(1, -1)), expected.movedim(1, -1))
