"""A network that converts in seconds: two convolutions before a decoder as deep as the real one, but narrow."""

from __future__ import annotations

from torch import nn

from medsam_edge_train.models import MedSAM
from medsam_edge_train.models.layers import ConvBN
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder

WIDTH = 32


def tiny(*between: nn.Module) -> MedSAM:
    """With `between` on 16 channels at half the resolution."""
    encoder = nn.Sequential(ConvBN(3, 16, 3, 2), nn.ReLU(), *between, ConvBN(16, WIDTH, 3, 2))
    return MedSAM(encoder, PromptEncoder(WIDTH, 4), MaskDecoder(WIDTH, heads=2, hidden=64, box_prior=True))
