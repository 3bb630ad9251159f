"""The whole network, composed of its three parts. The prefixes of the keys are the published ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple, cast

from torch import Tensor, nn

from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder


class Prediction(NamedTuple):
    """Output of `forward`: logits (N, S, S), predicted IoU (N,), and class logits (B, 11) if the network classifies."""

    logits: Tensor
    scores: Tensor
    class_logits: Tensor | None = None


class MedSAM(nn.Module):
    """Box-prompted segmentation: `embed` once per image, `decode` once per batch of boxes."""

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.quantizers: nn.Module | None = None  # (encoder, images) → embedding rounded as in int8 (`quantize.py`)

    def reparameterize(self) -> MedSAM:
        """Decode by cheaper, algebraically equal arithmetic from now on (`mask_decoder.py`); returns itself."""
        self.mask_decoder.reparameterize()
        return self

    def freeze(self, parts: Iterable[str]) -> None:
        """Exclude parts, such as `image_encoder`, from training: their weights get no gradient."""
        for part in parts:
            self.get_submodule(part).requires_grad_(False)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, (S/4)², 256): the embedding as rows, with the dense prompt added."""
        if self.quantizers is None:
            embedding = cast(Tensor, self.image_encoder(images))
        else:
            embedding = cast(Tensor, self.quantizers(self.image_encoder, images))
        # the encoder ends in a norm over channels, whose permutation this one undoes: OpenVINO drops both
        return embedding.permute(0, 2, 3, 1).flatten(1, 2) + self.prompt_encoder.dense()

    def decode(self, rows: Tensor, boxes: Tensor, cells: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Decode boxes on embedded images.

        Args:
            rows: (1, P, 256) for boxes of one image, or (N, P, 256), one image for each box.
            boxes: (N, 4) x0, y0, x1, y1 in pixels of the prompt encoder's frame (256).
            cells: (N, K) int64, positions of the embedding at which each mask is wanted; None for all.

        Returns:
            logits (N, S, S), or (N, K, 4, 4) with the pixels of each cell; and predicted IoU (N,).
        """
        return self.decode_tokens(rows, boxes, self.prompt_encoder(boxes), cells)

    def decode_tokens(
        self, rows: Tensor, boxes: Tensor, prompts: Tensor, cells: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`decode` with given prompt tokens (N, T, 256)."""
        positions = self.prompt_encoder.pe_layer.grid(math.isqrt(rows.shape[1]))
        shares = boxes / self.prompt_encoder.frame
        return cast("tuple[Tensor, Tensor]", self.mask_decoder(rows, positions, prompts, shares, cells))

    def forward(self, images: Tensor, boxes: Tensor, image_index: Tensor) -> Prediction:
        """Used in training.

        Args:
            images: (B, 3, S, S) float32 in [0, 1].
            boxes: (N, 4) x0, y0, x1, y1 in pixels of the S frame.
            image_index: (N,) int64, the image of each box.
        """
        rows = self.embed(images)
        return Prediction(*self.decode(rows[image_index], self.to_frame(boxes, images)))

    def to_frame(self, boxes: Tensor, images: Tensor) -> Tensor:
        """Boxes from pixels of the images (…, S, S) to the prompt encoder's frame."""
        return boxes * (self.prompt_encoder.frame / images.shape[-1])
