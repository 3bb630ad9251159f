"""Building blocks. Those with a `fuse()` beside `forward()` become cheaper modules that are equal in eval mode."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

EMBEDDING_DIM = 256  # channels of the image embedding


@runtime_checkable
class Fusible(Protocol):
    """A module that can become a cheaper one with the same output in eval mode."""

    def fuse(self) -> nn.Module: ...


def fuse(module: nn.Module) -> nn.Module:
    """Replace every fusible part of a module, in place; returns the module, or its replacement if it is fusible.

    The outputs are equal up to rounding, in eval mode only: batch norms are folded with their running statistics.
    """
    if isinstance(module, Fusible):
        return module.fuse()
    for name, child in module.named_children():
        setattr(module, name, fuse(child))
    return module


def fold_batch_norm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that equals `bn(conv(x))` in eval mode."""
    mean, var = cast(Tensor, bn.running_mean), cast(Tensor, bn.running_var)
    gain = bn.weight / torch.sqrt(var + bn.eps)
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias
    folded = deepcopy(conv)
    with torch.no_grad():
        folded.weight.copy_(conv.weight * gain[:, None, None, None])
        folded.bias = nn.Parameter((bias - mean) * gain + bn.bias)
    return folded


def named(**parts: nn.Module) -> nn.Sequential:
    """The parts one after the other, under the names that published keys have."""
    return nn.Sequential(OrderedDict(parts))


class ConvBN(nn.Module):
    """Convolution without bias, then batch norm (keys `c`, `bn` as in the published RepViT and TinyViT)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.bn(self.c(x)))

    def fuse(self) -> nn.Module:
        return fold_batch_norm(self.c, self.bn)


class RepDepthwise(nn.Module):
    """RepViT's depthwise unit: BN(convBN3×3(x) + conv1×1(x) + x), one 3×3 convolution once fused."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvBN(channels, channels, 3, groups=channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, groups=channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.bn(self.conv(x) + self.conv1(x) + x))

    def fuse(self) -> nn.Module:
        merged = fold_batch_norm(self.conv.c, self.conv.bn)
        with torch.no_grad():
            merged.weight[:, :, 1, 1] += self.conv1.weight[:, :, 0, 0] + 1.0  # the 1×1 branch and the identity
            cast(Tensor, merged.bias).add_(cast(Tensor, self.conv1.bias))
        return fold_batch_norm(merged, self.bn)


class SqueezeExcite(nn.Module):
    """Channel gates from the spatial mean (Hu et al., 2018); the hidden width is a quarter, a multiple of 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = max(8, (channels // 4 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(channels, reduced, 1)
        self.fc2 = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.fc2(torch.relu(self.fc1(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gates)


class Residual(nn.Module):
    """x + m(x)."""

    def __init__(self, m: nn.Module) -> None:
        super().__init__()
        self.m = m

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.m(x))


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of NCHW maps (SAM's, eps 1e-6)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def rows(self, x: Tensor) -> Tensor:
        """The same for a tensor whose last axis holds the channels."""
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def sam_neck(inputs: int) -> nn.Sequential:
    """SAM's neck: (B, inputs, h, w) → (B, 256, h, w) by 1×1, LayerNorm, 3×3, LayerNorm."""
    return nn.Sequential(
        nn.Conv2d(inputs, EMBEDDING_DIM, 1, bias=False),
        LayerNorm2d(EMBEDDING_DIM),
        nn.Conv2d(EMBEDDING_DIM, EMBEDDING_DIM, 3, padding=1, bias=False),
        LayerNorm2d(EMBEDDING_DIM),
    )
