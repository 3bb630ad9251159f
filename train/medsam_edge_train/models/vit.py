"""SAM's ViT image encoder (Kirillov et al., 2023; Li et al., ViTDet, 2022), that of MedSAM; keys as published.

It has windowed attention except in a few global blocks, decomposed relative positions, and SAM's neck.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge_train.models.layers import named, sam_neck

PATCH = 16
WINDOW = 14
EPS = 1e-6


class RelativeAttention(nn.Module):
    """Self-attention over a side × side square with relative positions, one table per axis."""

    def __init__(self, dim: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.head_dim, self.side = heads, dim // heads, side
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, self.head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, self.head_dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, side, side, C) → the same."""
        b, h, w, c = x.shape
        qkv = self.qkv(x).reshape(b, h * w, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, side², d) each
        scores = q @ k.transpose(2, 3) * self.head_dim**-0.5 + self._positions(q)
        return cast(Tensor, self.proj((torch.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(b, h, w, c)))

    def _positions(self, q: Tensor) -> Tensor:
        """q · r(dy) + q · r(dx) for every pair of cells, (B, heads, side², side²)."""
        side = self.side
        cells = torch.arange(side, device=q.device)
        offset = cells[:, None] - cells[None] + side - 1  # (side of q, side of k)
        grid = q.unflatten(2, (side, side))  # type: ignore[no-untyped-call]
        rows = torch.einsum("bnyxd,ykd->bnyxk", grid, self.rel_pos_h[offset])
        columns = torch.einsum("bnyxd,xkd->bnyxk", grid, self.rel_pos_w[offset])
        return (rows[..., :, None] + columns[..., None, :]).flatten(4).flatten(2, 3)


class ViTBlock(nn.Module):
    """Attention (in windows, or global if `window` is None), then an MLP; each after a norm."""

    def __init__(self, dim: int, heads: int, grid: int, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = RelativeAttention(dim, heads, window or grid)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = named(lin1=nn.Linear(dim, 4 * dim), act=nn.GELU(), lin2=nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) → the same."""
        normed = self.norm1(x)
        x = x + (self.attn(normed) if self.window is None else self._in_windows(normed, self.window))
        return x + cast(Tensor, self.mlp(self.norm2(x)))

    def _in_windows(self, x: Tensor, w: int) -> Tensor:
        b, height, width, c = x.shape
        padded = nn.functional.pad(x, (0, 0, 0, -width % w, 0, -height % w))
        down, across = padded.shape[1] // w, padded.shape[2] // w
        windows = padded.reshape(b, down, w, across, w, c).transpose(2, 3).reshape(-1, w, w, c)
        attended = self.attn(windows).reshape(b, down, across, w, w, c).transpose(2, 3)
        return cast(Tensor, attended.reshape(b, down * w, across * w, c)[:, :height, :width])


class ViT(nn.Module):
    """(B, 3, S, S) in [0, 1] → embedding (B, 256, S/16, S/16).

    Args:
        image_size: S; the position tables have its size.
        global_blocks: indices of the blocks that attend over the whole image.
    """

    def __init__(
        self,
        image_size: int = 1024,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        global_blocks: tuple[int, ...] = (2, 5, 8, 11),
    ) -> None:
        super().__init__()
        self.image_size, grid = image_size, image_size // PATCH
        self.patch_embed = named(proj=nn.Conv2d(3, dim, PATCH, PATCH))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, dim))
        windows = [None if index in global_blocks else WINDOW for index in range(depth)]
        self.blocks = nn.Sequential(*(ViTBlock(dim, heads, grid, window) for window in windows))
        self.neck = sam_neck(dim)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.patch_embed(x).permute(0, 2, 3, 1) + self.pos_embed  # (B, H, W, C)
        return cast(Tensor, self.neck(self.blocks(rows).permute(0, 3, 1, 2)))
