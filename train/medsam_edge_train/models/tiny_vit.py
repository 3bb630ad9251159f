"""TinyViT image encoder (Wu et al., TinyViT, 2022) as LiteMedSAM uses it: keys and arithmetic as published.

A patch embedding by 1×1 convolutions of stride 1, then one stage of MBConv blocks and three of windowed attention, at
256², 128², 64² and 64² for a 256² image. Maps are padded with zeros to whole windows before the norm, as published.
"""

from __future__ import annotations

from itertools import product
from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge_train.models.layers import ConvBN, named, sam_neck

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STRIDES = (2, 2, 1)  # of the merging after stages 0, 1 and 2
EXPANSION = 4


class ConvChain(nn.Module):
    """1×1, depthwise 3×3 and 1×1 convolution with GELU between."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvBN(inputs, hidden)
        self.conv2 = ConvBN(hidden, hidden, 3, stride, groups=hidden)
        self.conv3 = ConvBN(hidden, outputs)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv3(self.act(self.conv2(self.act(self.conv1(x))))))


class MBConv(ConvChain):
    """Inverted residual block: expand, depthwise, project."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.act(x + super().forward(x)))


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each head and each distance (|dy|, |dx|)."""

    bias_index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        # the distance (|dy|, |dx|) has the number |dy| · window + |dx|
        cells = torch.tensor(list(product(range(window), repeat=2)))
        distance = (cells[:, None] - cells[None]).abs()
        self.register_buffer("bias_index", distance[..., 0] * window + distance[..., 1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, window², C) → the same."""
        b, n, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, self.heads, 3 * self.head_dim).transpose(1, 2)
        q, k, v = qkv.split(self.head_dim, dim=-1)  # (B, h, n, d) each
        scores = q @ k.transpose(2, 3) * self.head_dim**-0.5 + self.attention_biases[:, self.bias_index]
        return cast(Tensor, self.proj((torch.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(b, n, c)))


class TinyViTBlock(nn.Module):
    """Windowed attention, a depthwise convolution over the whole map, an MLP."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, heads, window)
        self.local_conv = ConvBN(dim, dim, 3, groups=dim)
        self.mlp = named(
            norm=nn.LayerNorm(dim),
            fc1=nn.Linear(dim, EXPANSION * dim),
            act=nn.GELU(),
            fc2=nn.Linear(EXPANSION * dim, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        x = self.local_conv(x + self._attend(x))
        rows = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        return cast(Tensor, (rows + self.mlp(rows)).permute(0, 3, 1, 2))

    def _attend(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        w = self.window
        padded = nn.functional.pad(x, (0, -width % w, 0, -height % w))
        down, across = padded.shape[2] // w, padded.shape[3] // w
        windows = padded.reshape(b, c, down, w, across, w).permute(0, 2, 4, 3, 5, 1).reshape(-1, w * w, c)
        attended = self.attn(windows).reshape(b, down, across, w, w, c).permute(0, 5, 1, 3, 2, 4)
        return cast(Tensor, attended.reshape(b, c, down * w, across * w)[:, :, :height, :width])


class TinyViT(nn.Module):
    """(B, 3, S, S) in [0, 1] → embedding (B, 256, S/4, S/4)."""

    def __init__(self) -> None:
        super().__init__()
        first = WIDTHS[0]  # after 3 → 32 → 64 channels at full resolution
        self.patch_embed = named(seq=nn.Sequential(ConvBN(3, first // 2), nn.GELU(), ConvBN(first // 2, first)))
        self.layers = nn.Sequential()
        for index, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            blocks = [
                TinyViTBlock(width, HEADS[index], WINDOWS[index]) if index else MBConv(width, EXPANSION * width, width)
                for _ in range(depth)
            ]
            stage = named(blocks=nn.Sequential(*blocks))
            if index < len(STRIDES):
                merging = ConvChain(width, WIDTHS[index + 1], WIDTHS[index + 1], STRIDES[index])
                stage.add_module("downsample", merging)
            self.layers.append(stage)
        self.neck = sam_neck(WIDTHS[-1])

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.neck(self.layers(self.patch_embed(x))))
