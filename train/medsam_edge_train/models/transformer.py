"""SAM's two-way transformer (Kirillov et al., 2023), keys as published, with the row form of its attention.

There are only a few tokens but thousands of image positions. So the image stays as rows (positions, channels), and
cross-attention projects the tokens *through* the image-side weights instead of every image row:

    token → image   scores = (Q_h·W_k,h)·xᵀ; the key bias drops out under the softmax. The softmax weights sum to one,
                    so values are projected after the average, not before it.
    image → token   scores = x·(W_q,hᵀ·K_h) + b_q,h·K_h; the output weights are applied to the few token values.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

READ_TOKENS = 2  # the IoU token and the first mask token


class Attention(nn.Module):
    """Multi-head attention of inner width dim / downsample, in three algebraically equal forms."""

    def __init__(self, dim: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = dim // downsample
        self.heads, self.head_dim = heads, inner // heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As published. q (N, T, C), k and v (N, P, C) → (N, T, C)."""
        queries, keys, values = (
            self._heads(project(x)) for project, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        weights = torch.softmax(queries @ keys.transpose(2, 3) / math.sqrt(self.head_dim), dim=-1)
        return cast(Tensor, self.out_proj((weights @ values).transpose(1, 2).flatten(2)))

    def tokens_to_image(self, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """`forward` for few queries and many keys. tokens (N, T, C), keys and values (N or 1, P, C) → (N, T, C)."""
        n, t, c = tokens.shape
        queries = self._heads(self.q_proj(tokens)) / math.sqrt(self.head_dim)  # (N, h, T, d)
        folded = (queries @ self._per_head(self.k_proj.weight)).flatten(1, 2)  # (N, h·T, C)
        weights = torch.softmax(keys @ folded.transpose(1, 2), dim=1)  # (N, P, h·T)
        context = (weights.transpose(1, 2) @ values).reshape(n, self.heads, t, c)
        heads = context @ self._per_head(self.v_proj.weight).transpose(1, 2)  # (N, h, T, d)
        return cast(Tensor, self.out_proj(heads.transpose(1, 2).flatten(2) + self.v_proj.bias))

    def image_to_tokens(self, rows: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """`forward` for many queries and few keys. rows (N or 1, P, C), keys and values (N, T, C) → (N, P, C)."""
        k = self._heads(self.k_proj(keys)) / math.sqrt(self.head_dim)  # (N, h, T, d)
        folded = (k @ self._per_head(self.q_proj.weight)).transpose(1, 2)  # (N, T, h, C)
        offset = (k @ self.q_proj.bias.reshape(self.heads, self.head_dim, 1)).transpose(1, 2)  # (N, T, h, 1)
        scores = rows @ folded.flatten(1, 2).transpose(1, 2) + offset.flatten(1)[:, None]  # (N, P, T·h)
        weights = torch.softmax(scores.reshape(*scores.shape[:2], -1, self.heads), dim=2).flatten(2)
        output = self.out_proj.weight.T.reshape(self.heads, self.head_dim, -1)
        attended = (self._heads(self.v_proj(values)) @ output).transpose(1, 2).flatten(1, 2)  # (N, T·h, C)
        return weights @ attended + self.out_proj.bias

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.head_dim).transpose(-3, -2)  # (..., h, T, d)

    def _per_head(self, weight: Tensor) -> Tensor:
        return weight.reshape(self.heads, self.head_dim, -1)  # (h, d, C)


class MLP(nn.Module):
    """Linear layers with ReLU between."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            x = layer(x if index == 0 else torch.relu(x))
        return x


class TokenMLP(nn.Module):
    """The transformer block's MLP (keys `lin1`, `lin2`)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.lin2(torch.relu(self.lin1(x))))


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image; then the image attends to the tokens."""

    def __init__(self, dim: int, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, downsample=2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = TokenMLP(dim, hidden)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, downsample=2)

    def forward(
        self, tokens: Tensor, rows: Tensor, token_pe: Tensor, row_pe: Tensor, cheap: bool
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        to_image, to_tokens = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        placed = rows + row_pe
        tokens = self.norm2(tokens + (to_image.tokens_to_image if cheap else to_image)(tokens + token_pe, placed, rows))
        tokens = self.norm3(tokens + self.mlp(tokens))
        rows = rows + (to_tokens.image_to_tokens if cheap else to_tokens)(placed, tokens + token_pe, tokens)
        return tokens, self.norm4(rows)


class TwoWayTransformer(nn.Module):
    """Two-way blocks, then a last attention of the tokens to the image."""

    def __init__(self, depth: int, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(dim, heads, hidden, first=index == 0) for index in range(depth))
        self.final_attn_token_to_image = Attention(dim, heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, rows: Tensor, row_pe: Tensor, cheap: bool) -> tuple[Tensor, Tensor]:
        token_pe, final = tokens, self.final_attn_token_to_image
        for layer in self.layers:
            tokens, rows = layer(tokens, rows, token_pe, row_pe, cheap)
        if cheap:  # the other tokens are not read
            tokens, token_pe = tokens[:, :READ_TOKENS], token_pe[:, :READ_TOKENS]
        attended = (final.tokens_to_image if cheap else final)(tokens + token_pe, rows + row_pe, rows)
        return self.norm_final_attn(tokens + attended), rows
