from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from torch import nn

from medsam_edge_train.models import fuse, lite_medsam
from medsam_edge_train.models.tiny_vit import TinyViTBlock, WindowAttention

KEYS = Path(__file__).parents[2] / "data" / "lite_medsam.keys.json"


def test_the_published_keys_and_sizes() -> None:
    network = lite_medsam()
    expected = {key: tuple(shape) for key, (shape, _) in json.loads(KEYS.read_text(encoding="utf-8")).items()}
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == expected
    assert len(expected) == 435
    assert sum(value.numel() for value in network.parameters()) == 9_791_300
    assert sum(value.numel() for value in network.image_encoder.parameters()) == 5_726_740


def test_embedding_has_a_quarter_of_the_side() -> None:
    with torch.inference_mode():
        assert lite_medsam().eval().embed(torch.rand(2, 3, 32, 32)).shape == (2, 64, 256)


def test_fusing_keeps_the_embedding() -> None:
    torch.manual_seed(0)
    encoder = lite_medsam().image_encoder.eval()
    for part in encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value, low, high in ((part.running_mean, -0.2, 0.2), (part.running_var, 0.5, 1.5)):
                assert value is not None
                value.uniform_(low, high)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    encoder = encoder.double()
    fused = fuse(copy.deepcopy(encoder))
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())
    with torch.inference_mode():
        torch.testing.assert_close(fused(image), encoder(image), rtol=1e-9, atol=1e-9)


def test_attention_weighs_by_the_bias_of_the_distance() -> None:
    """Queries and keys of zero: the softmax is over the biases alone, and the output their mean of the values."""
    attention = WindowAttention(dim=4, heads=1, window=2)
    with torch.no_grad():
        attention.qkv.weight.zero_()
        attention.qkv.weight[8:] = torch.eye(4)  # q, k, v of the single head, in this order
        attention.qkv.bias.zero_()
        attention.proj.weight.copy_(torch.eye(4))
        attention.proj.bias.zero_()
        attention.norm = nn.Identity()  # type: ignore[assignment]
        attention.attention_biases.copy_(torch.tensor([[0.0, 1.0, 2.0, 3.0]]))  # (0,0) (0,1) (1,0) (1,1)
        rows = torch.eye(4)[None]  # row i is the value of cell i, cells in the order (0,0) (0,1) (1,0) (1,1)
        weights = attention(rows)[0]
    expected = torch.softmax(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]).float(), dim=-1)
    torch.testing.assert_close(weights, expected)


def test_windows_do_not_see_each_other() -> None:
    """A change in one window stays there: with an identity in the convolution's place, all else is untouched."""
    torch.manual_seed(0)
    block = TinyViTBlock(8, heads=2, window=4).eval()
    block.local_conv = nn.Identity()  # type: ignore[assignment]
    before = torch.rand(1, 8, 10, 10)  # padded to 12: nine windows, the last ones partly outside
    after = before.clone()
    after[0, 0, 5, 6] += 1
    with torch.inference_mode():
        changed = (block(before) - block(after)).abs().amax(dim=(0, 1)) > 1e-6
    assert changed[4:8, 4:8].all()
    assert changed.sum() == 16
