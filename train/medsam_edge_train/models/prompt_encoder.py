"""SAM's prompt encoder (Kirillov et al., 2023), for boxes.

The layers for points and mask prompts exist because published checkpoints have their keys; boxes do not use them.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge_train.models.layers import LayerNorm2d


class RandomPositionEncoding(nn.Module):
    """Random Fourier features of positions in [0, 1]² (Tancik et al., 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, positions: Tensor) -> Tensor:
        """(..., 2) x, y in [0, 1] → (..., 2·features)."""
        angles = 2 * math.pi * ((2 * positions - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def grid(self, side: int) -> Tensor:
        """(side², 2·features): the encodings of the centres of a side × side grid, row by row."""
        centres = (torch.arange(side).to(self.positional_encoding_gaussian_matrix) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return cast(Tensor, self(torch.stack([x, y], dim=-1).reshape(side * side, 2)))


class PromptEncoder(nn.Module):
    """Boxes → two tokens each, one per corner.

    Args:
        frame: side of the square in whose pixels boxes are given, at every resolution of the image encoder.
    """

    def __init__(self, dim: int = 256, mask_channels: int = 16, frame: int = 256) -> None:
        super().__init__()
        self.frame = frame
        self.pe_layer = RandomPositionEncoding(dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, 2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, 2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def forward(self, boxes: Tensor) -> Tensor:
        """(N, 4) x0, y0, x1, y1 in pixels of the frame → (N, 2, 256) sparse tokens."""
        corners = (boxes.reshape(-1, 2, 2) + 0.5) / self.frame
        embeddings = [cast(nn.Embedding, self.point_embeddings[index]).weight for index in (2, 3)]
        return cast(Tensor, self.pe_layer(corners) + torch.cat(embeddings))

    def dense(self) -> Tensor:
        """(256,): the dense prompt of "no mask", which is added to every image position."""
        return self.no_mask_embed.weight[0]
