"""SAM's prompt encoder (Kirillov et al., 2023), keys as published.

Boxes and clicks become tokens. A mask prompt (`prior`) becomes a term for each image row: `mask_downscaling` works on
the 4 × 4 pixels of one cell of the grid at a time, so it is computed on rows, as matrix products.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge.prompts import PADDING
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
    """Boxes → two tokens each, one per corner; clicks → a token each; mask prompts → a term for each image row.

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

    def tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        """Points (N, K, 2) x, y in pixels of the frame, labels (N, K) int64 → (N, K, 256).

        Labels: 0 a click on the background, 1 one on the object, 2 and 3 a box's corners, `PADDING` none.

        A pixel's own coordinates name its centre: half a pixel is added here, as SAM adds it.
        """
        kinds = [cast(nn.Embedding, kind).weight for kind in (self.not_a_point_embed, *self.point_embeddings)]
        place = (
            cast(Tensor, self.pe_layer((points + 0.5) / self.frame)) * (labels != PADDING).to(points.dtype)[..., None]
        )
        return place + torch.cat(kinds)[labels + 1]

    def prior_rows(self, prior: Tensor) -> Tensor:
        """A mask prompt's logits in the pixels of each cell, (N, P, 4, 4) → (N, P, 256), in place of `dense`."""
        first, norm, act, second, last_norm, last_act, project = self.mask_downscaling
        n, p = prior.shape[:2]
        x = prior.reshape(n, p, 2, 2, 2, 2).transpose(3, 4).flatten(4)  # (N, P, y, x, dy·dx)
        x = act(cast(LayerNorm2d, norm).rows(_convolve(x, cast(nn.Conv2d, first)))).flatten(2)  # (N, P, dy·dx·C)
        x = last_act(cast(LayerNorm2d, last_norm).rows(_convolve(x, cast(nn.Conv2d, second))))
        return _convolve(x, cast(nn.Conv2d, project))

    def forget_masks(self) -> None:
        """Start mask prompts anew: at first they change nothing."""
        last = cast(nn.Conv2d, self.mask_downscaling[-1])
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            cast(Tensor, last.bias).copy_(self.dense())

    def dense(self) -> Tensor:
        """(256,): the dense prompt of "no mask", which is added to every image position."""
        return self.no_mask_embed.weight[0]


def _convolve(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A convolution whose stride is its size, on rows: (..., dy·dx·C) → (..., C')."""
    return nn.functional.linear(x, layer.weight.permute(0, 2, 3, 1).flatten(1), layer.bias)
