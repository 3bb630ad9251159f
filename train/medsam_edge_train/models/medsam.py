"""The whole network, composed of its three parts; the key prefixes are the published ones."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import FRAME, PromptEncoder


class MedSAM(nn.Module):
    """Box-prompted segmentation: `embed` once per image, `decode` once per batch of boxes."""

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, (S/4)², 256): the embedding as rows, with the dense prompt added."""
        embedding = cast(Tensor, self.image_encoder(images))
        return embedding.flatten(2).transpose(1, 2) + self.prompt_encoder.dense()

    def decode(self, rows: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Decode boxes on embedded images.

        Args:
            rows: (1, P, 256) for boxes of one image, or (N, P, 256), one image for each box.
            boxes: (N, 4) x0, y0, x1, y1 in pixels of the 256 frame.

        Returns:
            logits (N, S, S) and predicted IoU (N,).
        """
        side = math.isqrt(rows.shape[1])
        return cast(
            "tuple[Tensor, Tensor]",
            self.mask_decoder(rows, self.prompt_encoder.pe_layer.grid(side), self.prompt_encoder(boxes), boxes / FRAME),
        )

    def forward(self, images: Tensor, boxes: Tensor, image_index: Tensor) -> tuple[Tensor, Tensor]:
        """Training: images (B, 3, S, S); boxes (N, 4) in pixels of the S frame; image_index (N,) int64."""
        rows = self.embed(images)
        return self.decode(torch.index_select(rows, 0, image_index), boxes * (FRAME / images.shape[-1]))
