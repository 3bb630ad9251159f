"""The whole network, composed of its three parts. The prefixes of the keys are the published ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medsam_edge.geometry import CELL, OUTSIDE, Windows, window_groups
from medsam_edge.networks.bundle import PROMPTS
from medsam_edge_train.models.mask_decoder import Grid, Hint, MaskDecoder, gather, pick, plane
from medsam_edge_train.models.prompt_encoder import PromptEncoder

BOXES_ALONE = "boxes"
"""Name, for `freeze`, of all that masks of boxes alone depend on; what only clicks and mask prompts use is left."""
EXTRA_WEIGHTS = (
    "mask_decoder.hints.",
    "prompt_encoder.mask_downscaling.",
    "prompt_encoder.not_a_point_embed.",
    "prompt_encoder.point_embeddings.0.",
    "prompt_encoder.point_embeddings.1.",
)


class ExtraPrompts(NamedTuple):
    """Prompts beside N boxes. The coordinates are those of the boxes' image.

    Attributes:
        points: (N, K, 2) x, y of pixels; a box's corners, with labels 2 and 3, may be among them.
        labels: (N, K) int64: 1 object, 0 background, -1 padding.
        prior: logits of mask prompts: (N, S, S) in pixels of the square (`predict`), (N, R, 4, 4) in those of the cells
            that are read (`decode`), or (N, 1, 4, 4) where no object has one.
        has_prior: (N,) 1.0 or 0.0.
    """

    points: Tensor
    labels: Tensor
    prior: Tensor
    has_prior: Tensor


class Part(NamedTuple):
    """Masks of the boxes that have windows of equal size.

    Attributes:
        indices: (n,) int64, their numbers among all boxes.
        windows: where the logits lie in the square; the whole of it for networks without windows.
        logits: (n, 4·rows, 4·columns).
    """

    indices: Tensor
    windows: Windows
    logits: Tensor

    def crop(self, planes: Tensor) -> Tensor:
        """(N, S, S) of all boxes → (n, 4·rows, 4·columns), what lies in these windows."""
        return _crop(planes, self.indices, self.windows)


class Prediction(NamedTuple):
    """Output of `forward`.

    Attributes:
        parts: logits, boxes with windows of equal size together; none without boxes.
        scores: (N,), predicted IoU.
        class_logits: (B, 11) if the network classifies.
    """

    parts: list[Part]
    scores: Tensor
    class_logits: Tensor | None = None

    def planes(self, side: int) -> Tensor:
        """(N, side, side) logits in pixels of the square; `OUTSIDE` beyond the windows."""
        planes = self.scores.new_full((len(self.scores), side, side), OUTSIDE)
        for part in self.parts:
            rows, columns = part.windows.rows * CELL, part.windows.columns * CELL
            corners = zip((part.windows.top * CELL).tolist(), (part.windows.left * CELL).tolist(), strict=True)
            for index, (top, left), logits in zip(part.indices.tolist(), corners, part.logits, strict=True):
                planes[index, top : top + rows, left : left + columns] = logits
        return planes


class Place(NamedTuple):
    """Where the grid of an image lies in the grid of `side` × `side` cells that the decoder knows."""

    side: int
    top: int = 0
    left: int = 0

    @classmethod
    def anywhere(cls, crop: int, side: int) -> Place:
        """A random place for a crop of crop × crop cells."""
        top, left = torch.randint(side - crop + 1, (2,)).tolist()
        return cls(side, top, left)

    def cells(self, cells: Tensor | None, side: int) -> Tensor | None:
        """Cells of the image's grid, `side` wide, as cells of this grid."""
        if cells is None or side == self.side:
            return cells
        return (cells // side + self.top) * self.side + cells % side + self.left


class MedSAM(nn.Module):
    """Box-prompted segmentation: `embed` once per image, `decode` once per batch of boxes.

    Args:
        context: what a window shows around its box (`medsam_edge.geometry.window_groups`), where the decoder reads only
            the window; None for decoders that read the whole grid.
    """

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        context: float | None = None,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.context = context
        self.prompt_kinds: tuple[str, ...] = PROMPTS[:1]  # what it was trained to take, and a bundle then takes
        self.quantizers: nn.Module | None = None  # (encoder, images) → embedding rounded as in int8 (`quantize.py`)

    def reparameterize(self) -> MedSAM:
        """Decode by cheaper, algebraically equal arithmetic from now on (`mask_decoder.py`); returns itself."""
        self.mask_decoder.reparameterize()
        return self

    def freeze(self, parts: Iterable[str]) -> None:
        """Exclude parts, such as `image_encoder` or `BOXES_ALONE`, from training: their weights get no gradient."""
        for part in parts:
            for name, weight in self.named_parameters():
                if name.startswith(f"{part}.") or (part == BOXES_ALONE and not name.startswith(EXTRA_WEIGHTS)):
                    weight.requires_grad_(False)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, (S/4)², 256): the embedding as rows, with the dense prompt added."""
        if self.quantizers is None:
            embedding = cast(Tensor, self.image_encoder(images))
        else:
            embedding = cast(Tensor, self.quantizers(self.image_encoder, images))
        # the encoder ends in a norm over channels, whose permutation this one undoes: OpenVINO drops both
        return embedding.permute(0, 2, 3, 1).flatten(1, 2) + self.prompt_encoder.dense()

    def decode(
        self, rows: Tensor, boxes: Tensor, cells: Tensor | None = None, extra: ExtraPrompts | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode boxes on embedded images.

        Args:
            rows: (1, P, 256) for boxes of one image, or (N, P, 256), one image for each box.
            boxes: (N, 4) x0, y0, x1, y1 in pixels of the prompt encoder's frame (256).
            cells: (N, K) int64, positions of the embedding at which each mask is wanted; None for all. A network with
                `context` reads only these: they are a window, row by row.
            extra: further prompts. All tokens come from its points, those of boxes too; boxes are without area where
                there is none.

        Returns:
            logits (N, S, S), or (N, K, 4, 4) with the pixels of each cell; and predicted IoU (N,).
        """
        return self.decode_tokens(rows, boxes, self.sparse(boxes, extra), cells, extra=extra)

    def sparse(self, boxes: Tensor, extra: ExtraPrompts | None) -> Tensor:
        """Tokens (N, T, 256) of boxes in the frame, or of all points where there are further prompts."""
        if extra is None:
            return cast(Tensor, self.prompt_encoder(boxes))
        return self.prompt_encoder.tokens(extra.points, extra.labels)

    def decode_tokens(
        self,
        rows: Tensor,
        boxes: Tensor,
        prompts: Tensor,
        cells: Tensor | None = None,
        image_index: Tensor | None = None,
        place: Place | None = None,
        extra: ExtraPrompts | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`decode` with given prompt tokens (N, T, 256).

        Args:
            image_index: (N,) int64, the image of each box, for rows (B, P, 256) of B images.
            place: where the images lie in the decoder's grid; None for the same grid.
        """
        side = math.isqrt(rows.shape[1])
        place = place or Place(side)
        grid = Grid(place.side, place.cells(cells, side), self.context is not None and cells is not None)
        positions = self.prompt_encoder.pe_layer.grid(grid.side)
        if grid.windowed and cells is not None:
            positions = positions[grid.cells]
            first = 0 if image_index is None else image_index[:, None] * rows.shape[1]
            rows = gather(rows, cells + first) if len(rows) == 1 or image_index is not None else pick(rows, cells)
        elif image_index is not None:
            rows = rows[image_index]
        hint, frame = None, self.prompt_encoder.frame
        if extra is not None:
            prior = extra.prior * extra.has_prior[:, None, None, None]
            given = self.prompt_encoder.prior_rows(prior) - self.prompt_encoder.dense()
            rows = rows + given * extra.has_prior[:, None, None]
            has_box = (boxes[:, 2] > boxes[:, 0]).to(boxes.dtype)
            hint = Hint((extra.points + 0.5) / frame, extra.labels, prior, extra.has_prior, has_box)
        return cast("tuple[Tensor, Tensor]", self.mask_decoder(rows, positions, prompts, boxes / frame, grid, hint))

    def forward(
        self,
        images: Tensor,
        boxes: Tensor,
        image_index: Tensor,
        whole: int | None = None,
        extra: ExtraPrompts | None = None,
    ) -> Prediction:
        """Used in training.

        Args:
            images: (B, 3, S, S) float32 in [0, 1].
            boxes: (N, 4) x0, y0, x1, y1 in pixels of the S frame.
            image_index: (N,) int64, the image of each box.
            whole: side in pixels of the squares of which the images are crops; None if they are whole.
            extra: clicks and mask prompts beside the boxes.
        """
        return self.predict(self.embed(images), boxes, image_index, None, whole, extra)

    def predict(
        self,
        rows: Tensor,
        boxes: Tensor,
        image_index: Tensor,
        finish: Callable[[Tensor], Tensor] | None = None,
        whole: int | None = None,
        extra: ExtraPrompts | None = None,
    ) -> Prediction:
        """Decode boxes on embedded images as the sdk does: in windows, equal ones together, or on the whole grid.

        A crop is a part of its square to a decoder that reads windows: it gets a random place there. To one that reads
        the whole grid, the crop is all there is.

        Args:
            rows: (B, P, 256).
            boxes: (N, 4) in pixels of the square of side 4·√P; all without area where there are clicks alone: they are
                read in the whole grid.
            image_index: (N,) int64, the image of each box.
            finish: tokens (N, T, 256) of boxes and clicks → these and those of class prompts; None for none.
            whole, extra: see `forward`.
        """
        side = math.isqrt(rows.shape[1])
        place = Place(side) if whole is None or self.context is None else Place.anywhere(side, whole // CELL)
        corner = boxes.new_tensor([place.left, place.top]) * CELL
        ratio = self.prompt_encoder.frame / (place.side * CELL)
        framed = (boxes + corner.repeat(2)) * ratio
        boxed = extra is None or bool((boxes[:, 2] > boxes[:, 0]).any())
        sparse = [self.prompt_encoder(framed)] if boxed else []
        if extra is not None:
            extra = extra._replace(points=(extra.points + 0.5 + corner) * ratio - 0.5)
            sparse.insert(0, self.prompt_encoder.tokens(extra.points, extra.labels))
        tokens = torch.cat(sparse, dim=1)
        prompts = tokens if finish is None else finish(tokens)
        parts, scores, order = [], [boxes.new_zeros(0)], [image_index.new_zeros(0)]
        looked_in = boxes if boxed else boxes.new_tensor([0, 0, side * CELL, side * CELL]).expand(len(boxes), -1)
        for indices, windows in self._groups(looked_in, side):
            chosen = torch.from_numpy(indices).to(boxes.device)
            cells = None if self.context is None else torch.from_numpy(windows.cells).to(boxes.device)
            logits, own = self.decode_tokens(
                rows,
                framed[chosen],
                prompts[chosen],
                cells,
                image_index[chosen],
                place,
                None if extra is None else _in_cells(extra, chosen, windows),
            )
            if cells is not None:
                logits = plane(logits, windows.rows, windows.columns)
            parts.append(Part(chosen, windows, logits))
            scores.append(own)
            order.append(chosen)
        return Prediction(parts, torch.cat(scores)[torch.argsort(torch.cat(order))])

    def _groups(self, boxes: Tensor, side: int) -> list[tuple[npt.NDArray[np.intp], Windows]]:
        if self.context is not None:
            return window_groups(boxes.detach().float().cpu().numpy(), self.context, side)
        return [(np.arange(len(boxes)), Windows.whole(side, len(boxes)))] if len(boxes) else []


def _crop(planes: Tensor, indices: Tensor, windows: Windows) -> Tensor:
    """(N, S, S) → (n, 4·rows, 4·columns): of some planes, what lies in their windows."""
    rows, columns = windows.rows * CELL, windows.columns * CELL
    corners = zip(indices.tolist(), (windows.top * CELL).tolist(), (windows.left * CELL).tolist(), strict=True)
    return torch.stack([planes[i, top : top + rows, left : left + columns] for i, top, left in corners])


def _in_cells(extra: ExtraPrompts, chosen: Tensor, windows: Windows) -> ExtraPrompts:
    """The further prompts of some boxes, masks (N, S, S) cut to the cells of their windows."""
    prior = _crop(extra.prior, chosen, windows)
    cells = prior.reshape(-1, windows.rows, 4, windows.columns, 4).transpose(2, 3).reshape(len(chosen), -1, 4, 4)
    return ExtraPrompts(extra.points[chosen], extra.labels[chosen], cells, extra.has_prior[chosen])
