"""SAM's mask decoder (Kirillov et al., 2023), keys as published. `reparameterize()` makes it cheaper, masks unchanged.

The image stays as rows (positions, channels); `transformer.py` has the attention. The two 2×2 transposed convolutions
are matrix products on rows; pixels are rearranged once, on the one-channel mask. One mask is decoded (mask token
0), as in the published scripts; the other hyper-networks are kept for their keys.

With `box_prior` (our own networks) each image row gets its position in the box, and the mask token also predicts a
quadratic form in the coordinates of the box, which is added to the logits. It starts as the ellipse inscribed in the
box, so the image features only refine this shape.

With `ellipse` a fixed term is added to the logits last: ellipse · clip(1 − r², −2, 1), r the distance from the box's
centre in half-sides. Where the image says little, the mask is the ellipse inscribed in the box. A mask prompt says more
of the shape than the box does: with one, the ellipse is no stronger than `ELLIPSE_WITH_PRIOR`. A click says that the
mask so far is wrong: with one, the ellipse is as strong as with a box alone.

With `hints` (our own networks) clicks and a mask prompt also act without a detour through tokens: each image row is
compared with those under the clicks and under the mask prompt, and what follows is added to the row and to its logits;
a share of the mask prompt, which the mask token predicts, is added to the logits too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from medsam_edge_train.models.layers import LayerNorm2d
from medsam_edge_train.models.transformer import MLP, TwoWayTransformer

MASK_TOKENS = 4
INSCRIBED_ELLIPSE = (-4.0, -4.0, 0.0, 0.0, 0.0, 4.0)  # 4·(1 − u² − v²); u, v are ±1 on the box's edges
PRIOR_REACH = 3.0  # in half-boxes from the centre; the prior is constant beyond it
PRIOR_LIMIT = 4.0  # largest absolute value in logits, so that image features can always outweigh it
ELLIPSE_WITH_PRIOR = 4.0  # the ellipse's largest strength with a mask prompt and no click, in logits
CLICK_CELLS = (1.5, 6.0)  # standard deviations of the bumps around a click, in cells
HINT_WIDTH = 32  # channels in which rows are compared


class Hint(NamedTuple):
    """Clicks and mask prompts beside boxes.

    Attributes:
        points: (N, K, 2) x, y as shares of the square's side.
        labels: (N, K): 0 background, 1 object, other values are no clicks.
        prior: (N, R, 4, 4) logits of the mask prompt in the pixels of the cells that are read, or (N, 1, 4, 4); zeros
            where there is none.
        has_prior: (N,) 1.0 or 0.0.
        has_box: (N,) 1.0 or 0.0: without a box there is neither box prior nor ellipse.
    """

    points: Tensor
    labels: Tensor
    prior: Tensor
    has_prior: Tensor
    has_box: Tensor

    @property
    def is_click(self) -> Tensor:
        """(N, K) bool: which labels are of clicks."""
        return (self.labels == 0) | (self.labels == 1)


class MaskDecoder(nn.Module):
    """Image rows and prompt tokens → one mask and its predicted IoU per prompt.

    Args:
        depth: number of two-way blocks; 2 in SAM and Rep-MedSAM, 3 in the class-prompt paper.
        box_prior: add the box prior described above.
        ellipse: strength of the fixed ellipse, in logits; 0 for none.
        hints: add what clicks and mask prompts say, as described above.
    """

    def __init__(
        self,
        dim: int = 256,
        depth: int = 2,
        heads: int = 8,
        hidden: int = 2048,
        box_prior: bool = False,
        ellipse: float = 0.0,
        hints: bool = False,
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(depth, dim, heads, hidden)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(MASK_TOKENS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, 2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP([dim, dim, dim, dim // 8]) for _ in range(MASK_TOKENS))
        self.iou_prediction_head = MLP([dim, dim, dim, MASK_TOKENS])
        self.box_prior = BoxPrior(dim) if box_prior else None
        self.ellipse = ellipse
        self.hints = HintTerms(dim) if hints else None
        self.reparameterized = False

    def reparameterize(self) -> MaskDecoder:
        """Compute the same masks by the cheaper arithmetic from now on; returns itself."""
        self.reparameterized = True
        return self

    def forward(
        self, rows: Tensor, row_pe: Tensor, prompts: Tensor, boxes: Tensor, grid: Grid, hint: Hint | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode one mask per prompt; N may be 0.

        Args:
            rows: (N or 1, R, 256), the embedding with the dense prompt added, of the cells that are read.
            row_pe: (R, 256) or (N, R, 256), their position encodings.
            prompts: (N, T, 256), sparse tokens.
            boxes: (N, 4) x0, y0, x1, y1 as shares of the square's side; only box prior and ellipse use them.
            grid: which cells are read and which are wanted.
            hint: clicks and mask prompts, and which rows have a box; None where there are boxes alone.

        Returns:
            logits (N, 4·side, 4·side) if all cells are wanted, else (N, K, 4, 4), the pixels of each wanted cell; and
            predicted IoU (N,).
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(prompts.shape[0], -1, -1), prompts], dim=1)
        if self.box_prior is not None:
            rows = rows + _where_box(self.box_prior.place(boxes, grid), hint)
        hint_logits = None
        if self.hints is not None and hint is not None:
            hint_rows, hint_logits = self.hints(rows, hint, grid)
            rows = rows + hint_rows
        if not self.reparameterized:
            rows = rows.expand(prompts.shape[0], -1, -1)
        tokens, rows = self.transformer(tokens, rows, row_pe, self.reparameterized)
        scores = self.iou_prediction_head(tokens[:, 0])[:, 0]
        picked = None if grid.windowed else grid.cells
        logits = (self._one_mask if self.reparameterized else self._masks)(rows, tokens[:, 1:], picked, grid)
        if self.box_prior is not None or self.ellipse:
            u, v = grid.pixel_coordinates(boxes)
            if self.box_prior is not None:
                logits = logits + _where_box(self.box_prior(tokens[:, 1], u, v), hint)
            if self.ellipse:
                logits = logits + _where_box(self._ellipse_strength(hint) * (1 - u * u - v * v).clamp(-2, 1), hint)
        if self.hints is not None and hint is not None and hint_logits is not None:
            logits = logits + pick(hint_logits, picked) + self.hints.share(tokens[:, 1])[..., None, None] * hint.prior
        return (plane(logits, grid.side, grid.side) if grid.cells is None else logits), scores

    def _ellipse_strength(self, hint: Hint | None) -> Tensor | float:
        """(N, 1, 1, 1), or one number where there are boxes alone."""
        if hint is None:
            return self.ellipse
        prior_alone = hint.has_prior * ~hint.is_click.any(dim=1)
        excess = max(0.0, self.ellipse - ELLIPSE_WITH_PRIOR)
        return (self.ellipse - excess * prior_alone)[:, None, None, None]

    def _masks(self, rows: Tensor, tokens: Tensor, cells: Tensor | None, grid: Grid) -> Tensor:
        """As published: rows → features of an NCHW map → dot products with four kernels → the first mask."""
        height, width = grid.shape
        image = rows.transpose(1, 2).reshape(*rows.shape[::2], height, width)
        features = self.output_upscaling(image)  # (N, C/8, 4·height, 4·width)
        kernels = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        masks: Tensor = kernels @ features.flatten(2)  # (N, 4, 16·R)
        pixels = masks[:, 0].reshape(-1, height, 4, width, 4).transpose(2, 3).reshape(-1, height * width, 4, 4)
        return pick(pixels, cells)

    def _one_mask(self, rows: Tensor, tokens: Tensor, cells: Tensor | None, grid: Grid) -> Tensor:
        """rows → features of the 4×4 sub-pixels of the cells wanted → dot product with one kernel."""
        kernel = self.output_hypernetworks_mlps[0](tokens[:, 0])  # (N, 32)
        first, norm, act, second, _ = self.output_upscaling
        x = _deconvolve(pick(rows, cells), cast(nn.ConvTranspose2d, first))  # (N, K, 4, 64)
        x = act(cast(LayerNorm2d, norm).rows(x))
        x = act(_deconvolve(x, cast(nn.ConvTranspose2d, second)))  # (N, K, 4, 4, 32)
        mask: Tensor = x.flatten(1, 3) @ kernel[:, :, None]  # (N, K·16, 1)
        return mask.reshape(*x.shape[:2], 2, 2, 2, 2).transpose(3, 4).reshape(*x.shape[:2], 4, 4)  # y dy x dx


class BoxPrior(nn.Module):
    """The geometry of the box, added to the image rows and to the logits; u and v are ±1 on the edges of the box.

    `place` adds each row's position in the box: a dense prompt, linear in (u, v, uv, u², v², inside).
    `forward` is L·tanh((a·u² + b·v² + c·uv + d·u + e·v + f) / L), with coefficients from the mask token.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(6, dim, bias=False)
        nn.init.zeros_(self.dense.weight)
        self.coefficients = MLP([dim, dim, len(INSCRIBED_ELLIPSE)])
        last = cast(nn.Linear, self.coefficients.layers[-1])
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor(INSCRIBED_ELLIPSE))

    def place(self, boxes: Tensor, grid: Grid) -> Tensor:
        """boxes (N, 4) as shares of the side → the rows' position in the box, (N, R, C)."""
        u, v = grid.cell_coordinates(boxes)
        inside = torch.tanh(2 - 2 * torch.maximum(u.abs(), v.abs()))
        features = torch.stack([u, v, u * v / 3, u * u / 3, v * v / 3, inside], dim=-1)
        return cast(Tensor, self.dense(features))

    def forward(self, token: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """token (N, C), u (N, K, 1, 4) and v (N, K, 4, 1) of the wanted cells' pixels → (N, K, 4, 4)."""
        a, b, c, d, e, f = self.coefficients(token)[:, :, None, None, None].unbind(1)  # each (N, 1, 1, 1)
        form = (a * u + d) * u + (b * v + e + c * u) * v + f
        return PRIOR_LIMIT * torch.tanh(form / PRIOR_LIMIT)


class HintTerms(nn.Module):
    """What clicks and mask prompts add to the image rows and to the logits; at first nothing, and never to boxes alone.

    A row looks at how near clicks are, at the mask prompt in its own pixels, and at how like it is to the rows under
    clicks on the background and on the object, inside and outside the mask prompt.
    """

    def __init__(self, dim: int, width: int = HINT_WIDTH) -> None:
        super().__init__()
        self.look = nn.Linear(dim, width, bias=False)
        self.tell = nn.Linear(2 * len(CLICK_CELLS) + 4 + 16, width)
        self.rows = nn.Linear(width, dim, bias=False)
        self.pixels = nn.Linear(width, 16, bias=False)
        self.share = nn.Linear(dim, 1)
        for weight in (self.rows.weight, self.pixels.weight, self.share.weight, self.share.bias):
            nn.init.zeros_(weight)

    def forward(self, rows: Tensor, hint: Hint, grid: Grid) -> tuple[Tensor, Tensor]:
        """rows (N, R, C) → what is added to the rows (N, R, C) and to the logits of their pixels (N, R, 4, 4)."""
        seen = self.look(rows)
        near = self.nearness(hint, grid)
        prior = hint.prior.flatten(2).expand(-1, rows.shape[1], -1)  # (N, R, 16)
        inside = prior.mean(-1, keepdim=True).sigmoid()
        weights = torch.cat(
            [near[..., :2], hint.has_prior[:, None, None] * torch.cat([inside, 1 - inside], -1)], dim=-1
        )
        features = torch.cat([near, likeness(seen, weights), (prior / 4).tanh()], dim=-1)
        clicked = hint.is_click.to(rows.dtype).sum(1)
        given = (clicked + hint.has_prior).clamp(max=1)[:, None, None]
        hidden = nn.functional.gelu(seen + self.tell(features)) * given
        return self.rows(hidden), self.pixels(hidden).unflatten(-1, (4, 4))

    @staticmethod
    def nearness(hint: Hint, grid: Grid) -> Tensor:
        """(N, R, 4): how near the cells that are read are to clicks on the background and on the object, 0 to 1."""
        distances = grid.squared_distances(hint.points * grid.side)  # (N, R, K)
        bumps = [torch.exp(distances / (-2 * width * width)) for width in CLICK_CELLS]
        chosen = [(hint.labels == value).to(distances.dtype)[:, None] for value in (0, 1)]
        return torch.stack([(bump * click).sum(-1).clamp(max=1) for bump in bumps for click in chosen], dim=-1)


def likeness(rows: Tensor, weights: Tensor) -> Tensor:
    """Cosines (N, R, K) of rows (N, R, C) and their K weighted means; weights (N, R, K), zeros give zeros."""
    directions = nn.functional.normalize(rows, dim=-1)
    means = (weights / (weights.sum(1, keepdim=True) + 1e-6)).transpose(1, 2) @ directions
    return directions @ nn.functional.normalize(means, dim=-1).transpose(1, 2)


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of a side × side grid that a decoder works on.

    Attributes:
        side: in cells.
        cells: (N, K) int64, the cells whose logits are wanted; None for all.
        windowed: whether only the wanted cells are read; else the whole grid is.
    """

    side: int
    cells: Tensor | None = None
    windowed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the cells that are read."""
        if not self.windowed or self.cells is None:
            return self.side, self.side
        columns = int((self.cells[0] // self.side == self.cells[0, 0] // self.side).sum())
        return self.cells.shape[1] // columns, columns

    def cell_coordinates(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """u and v, each (N, R), of the centres of the cells that are read."""
        u, v = _box_coordinates(boxes, self.side)  # (N, side) each
        if self.windowed and self.cells is not None:
            return pick(u, self.cells % self.side), pick(v, self.cells // self.side)
        return u[:, None].expand(-1, self.side, -1).flatten(1), v[..., None].expand(-1, -1, self.side).flatten(1)

    def squared_distances(self, points: Tensor) -> Tensor:
        """(N, R, K): of the centres of the cells that are read to points (N, K, 2), x, y in cells."""
        cells = self.cells if self.windowed else None
        if cells is None:
            cells = torch.arange(self.side**2, device=points.device)[None]
        across = cells[..., None] % self.side + 0.5 - points[:, None, :, 0]
        down = cells[..., None] // self.side + 0.5 - points[:, None, :, 1]
        return across * across + down * down

    def pixel_coordinates(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """u (N, K, 1, 4) and v (N, K, 4, 1) of the pixels of the wanted cells."""
        cells = self.cells
        if cells is None:
            cells = torch.arange(self.side**2, device=boxes.device)[None].expand(boxes.shape[0], -1)
        x, y = _box_coordinates(boxes, 4 * self.side)
        u = pick(x.reshape(-1, self.side, 4), cells % self.side)[:, :, None]
        return u, pick(y.reshape(-1, self.side, 4), cells // self.side)[..., None]


def _where_box(x: Tensor, hint: Hint | None) -> Tensor:
    """x (N, ...), zeros for prompts without a box."""
    return x if hint is None else x * hint.has_box.reshape(-1, *[1] * (x.ndim - 1))


def pick(x: Tensor, index: Tensor | None) -> Tensor:
    """x (N, P, ...), index (N, K) → (N, K, ...); index None gives all of x."""
    if index is None:
        return x
    first = torch.arange(index.shape[0], device=index.device)[:, None] * x.shape[1]
    return gather(x, index + first)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """x (B, P, ...), index (N, K) into its B·P rows → (N, K, ...).

    `index_select`, because the backward pass of plain indexing adds element by element.
    """
    rows = x.flatten(0, 1)
    return rows.index_select(0, index.flatten()).reshape(*index.shape, *rows.shape[1:])


def plane(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """The pixels of all cells of a window, (N, rows·columns, 4, 4) → (N, 4·rows, 4·columns)."""
    return pixels.reshape(-1, rows, columns, 4, 4).transpose(2, 3).reshape(-1, 4 * rows, 4 * columns)


def _box_coordinates(boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """u and v, each (N, side), of a grid's columns and rows: ±1 on the box's edges, clamped at `PRIOR_REACH`."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    cells = (torch.arange(side, device=boxes.device) + 0.5) / side
    uv = (cells - centre[:, :, None]) / half[:, :, None].clamp(min=1e-6)  # (N, 2, side)
    uv = uv.clamp(-PRIOR_REACH, PRIOR_REACH)
    return uv[:, 0], uv[:, 1]


def _deconvolve(x: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """A 2×2, stride-2 transposed convolution on rows: (..., C) → (..., 4, C'), sub-pixels in row order."""
    inputs, outputs = layer.weight.shape[:2]
    weight = layer.weight.permute(2, 3, 1, 0).reshape(4 * outputs, inputs)
    bias = cast(Tensor, layer.bias).repeat(4)  # before the reshape, so that an engine can fuse it
    return nn.functional.linear(x, weight, bias).reshape(*x.shape[:-1], 4, outputs)
