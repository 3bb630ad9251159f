"""TinyViT image encoder (Wu et al., TinyViT, 2022) as LiteMedSAM uses it: keys and arithmetic as published.

A patch embedding by 1×1 convolutions of stride 1, then one stage of MBConv blocks and three of windowed attention, at
256², 128², 64² and 64² for a 256² image. Maps are padded with zeros to whole windows before the norm, as published.
"""

from __future__ import annotations

from itertools import product
from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge_train.models.layers import ConvBN, sam_neck

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STRIDES = (2, 2, 1)  # of the merging after stages 0, 1 and 2
EXPANSION = 4


class PatchEmbed(nn.Module):
    """3 → 32 → 64 channels at full resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvBN(3, WIDTHS[0] // 2), nn.GELU(), ConvBN(WIDTHS[0] // 2, WIDTHS[0]))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.seq(x))


class MBConv(nn.Module):
    """Inverted residual block: expand, depthwise 3×3, project."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = EXPANSION * channels
        self.conv1 = ConvBN(channels, hidden)
        self.conv2 = ConvBN(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvBN(hidden, channels)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        inner = self.act(self.conv2(self.act(self.conv1(x))))
        return cast(Tensor, self.act(x + self.conv3(inner)))


class PatchMerging(nn.Module):
    """Convolutions to the width and resolution of the next stage."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(inputs, outputs)
        self.conv2 = ConvBN(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvBN(outputs, outputs)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.conv3(self.act(self.conv2(self.act(self.conv1(x))))))


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


class RowMLP(nn.Module):
    """Norm, then two linear layers with GELU between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, EXPANSION * dim)
        self.fc2 = nn.Linear(EXPANSION * dim, dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.fc2(self.act(self.fc1(self.norm(x)))))


class TinyViTBlock(nn.Module):
    """Windowed attention, a depthwise convolution over the whole map, an MLP."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, heads, window)
        self.local_conv = ConvBN(dim, dim, 3, groups=dim)
        self.mlp = RowMLP(dim)

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


class Stage(nn.Module):
    """Blocks, then the merging to the next stage; the last stage has none."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else cast(Tensor, self.downsample(x))


class TinyViT(nn.Module):
    """(B, 3, S, S) in [0, 1] → embedding (B, 256, S/4, S/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed()
        stages = []
        for index, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            blocks: list[nn.Module] = [
                TinyViTBlock(width, HEADS[index], WINDOWS[index]) if index else MBConv(width) for _ in range(depth)
            ]
            last = index == len(WIDTHS) - 1
            stages.append(Stage(blocks, None if last else PatchMerging(width, WIDTHS[index + 1], STRIDES[index])))
        self.layers = nn.ModuleList(stages)
        self.neck = sam_neck(WIDTHS[-1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        return cast(Tensor, self.neck(x))
