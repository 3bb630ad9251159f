from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, hardtanh, pad

from medsam_edge.errors import CheckpointError
from medsam_edge_train import checkpoint
from medsam_edge_train.models import build, fuse
from medsam_edge_train.models.efficientnet import READ_STAGES, STAGES, EfficientNetLite, imagenet_state, same_conv

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def published() -> State:
    """A file as published, with random weights: names and shapes are Lite2's."""
    generator, state = torch.Generator().manual_seed(0), {}

    def add(conv: str, bn: str, *shape: int) -> None:
        state[f"{conv}.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5 / shape[2]
        for key, low in (("weight", 0.5), ("bias", -0.1), ("running_mean", -0.1), ("running_var", 0.5)):
            state[f"{bn}.{key}"] = low + torch.rand(shape[0], generator=generator)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    width, block = 32, 0
    for expansion, kernel, _, outputs, blocks in STAGES:
        for _ in range(blocks):
            hidden, name = width * expansion, f"_blocks.{block}"
            if expansion > 1:
                add(f"{name}._expand_conv", f"{name}._bn0", hidden, width, 1, 1)
            add(f"{name}._depthwise_conv", f"{name}._bn1", hidden, 1, kernel, kernel)
            add(f"{name}._project_conv", f"{name}._bn2", outputs, hidden, 1, 1)
            width, block = outputs, block + 1
    state["_conv_head.weight"] = torch.zeros(1280, width, 1, 1)
    state["_fc.bias"] = torch.zeros(1000)
    return state


def reference(state: State, images: Tensor) -> list[Tensor]:
    """What each stage gives, from the published names alone."""

    def unit(x: Tensor, conv: str, bn: str, stride: int = 1, depthwise: bool = False) -> Tensor:
        weight = state[f"{conv}.weight"]
        kernel = weight.shape[-1]
        total = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)  # TensorFlow's "same"
        x = pad(x, (total // 2, total - total // 2) * 2)
        x = conv2d(x, weight, stride=stride, groups=x.shape[1] if depthwise else 1)
        mean, var = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
        return batch_norm(x, mean, var, state[f"{bn}.weight"], state[f"{bn}.bias"], eps=1e-3)

    x = hardtanh(unit((images * 255 - 127) / 128, "_conv_stem", "_bn0", 2), 0, 6)
    stages, block = [], 0
    for expansion, _, stride, _, blocks in STAGES:
        for index in range(blocks):
            name, before = f"_blocks.{block}", x
            if expansion > 1:
                x = hardtanh(unit(x, f"{name}._expand_conv", f"{name}._bn0"), 0, 6)
            step = 1 if index else stride
            x = hardtanh(unit(x, f"{name}._depthwise_conv", f"{name}._bn1", step, depthwise=True), 0, 6)
            x = unit(x, f"{name}._project_conv", f"{name}._bn2")
            x = x + before if index else x
            block += 1
        stages.append(x)
    return stages


def test_published_weights_give_the_published_features(published: State) -> None:
    encoder = EfficientNetLite().eval()
    own = {key.removeprefix("image_encoder."): value for key, value in imagenet_state(published).items()}
    result = encoder.load_state_dict(own, strict=False)
    assert not result.unexpected_keys
    assert all(key.startswith("neck.") or key.endswith("num_batches_tracked") for key in result.missing_keys)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = encoder.stem((images * 255 - 127) / 128)
        for index, (stage, expected) in enumerate(zip(encoder.stages, reference(published, images), strict=True)):
            x = stage(x)
            torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-3)
            if index in READ_STAGES:
                assert x.shape[1] == READ_STAGES[index]


def test_the_published_file_gives_the_weights_of_the_encoder(published: State, tmp_path: Path) -> None:
    torch.save(published, tmp_path / "efficientnet-lite2.pth")
    state = checkpoint.read(tmp_path / "efficientnet-lite2.pth").state
    network = build("efficient_medsam")
    left = checkpoint.load_state(network, state, "efficient_medsam", partial=True)
    assert len(left) == 1 and "missing" in left[0]
    torch.testing.assert_close(network.state_dict()["image_encoder.stem.0.1.c.weight"], published["_conv_stem.weight"])


def test_weights_of_another_efficientnet_are_refused(published: State) -> None:
    smaller = {key: value for key, value in published.items() if not key.startswith("_blocks.20.")}
    with pytest.raises(CheckpointError, match=r"expected EfficientNet-Lite2, _blocks\.20\._expand_conv\.weight"):
        imagenet_state(smaller)


def test_odd_padding_is_added_right_and_below() -> None:
    # kernel 3, stride 2 on 4 columns: the first output sees columns 0-2, the second 2, 3 and the padding
    conv = cast(nn.Sequential, same_conv(1, 1, 3, 2))
    with torch.no_grad():
        for name, value in conv.named_parameters():
            value.fill_(1.0 if name.endswith("weight") else 0.0)
        seen = conv.eval()(torch.tensor([[1.0, 10, 100, 1000]]).expand(1, 1, 4, 4))[0, 0]
    torch.testing.assert_close(seen[0], torch.tensor([333.0, 3300.0]), rtol=1e-4, atol=0)
    torch.testing.assert_close(seen[1], torch.tensor([222.0, 2200.0]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("side", [64, 128])
def test_the_encoder_embeds_at_a_quarter_and_fuses(side: int) -> None:
    encoder = build("efficient_medsam").eval().image_encoder
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        embedding = encoder(images)
        fused = fuse(encoder)(images)
    assert embedding.shape == (2, 256, side // 4, side // 4)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in encoder.modules())
    torch.testing.assert_close(fused, embedding, rtol=1e-3, atol=1e-3)
