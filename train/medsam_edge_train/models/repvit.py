"""RepViT image encoders (Wang et al., RepViT, 2023; Rep-MedSAM, Wei et al., 2024).

    rep_medsam      stem strides 1, 1: features at 256² 128² 64²; 1×1 + 3×3 neck.
    rep_medsam_s    stem strides 2, 2: features at 64² 32² 16²; feature-pyramid neck back to 64², ReLU.

Both have the same 26 blocks, so the weights of one can initialise the other. Keys are the published ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge_train.models.layers import (
    EMBEDDING_DIM,
    ConvBN,
    LayerNorm2d,
    RepDepthwise,
    Residual,
    SqueezeExcite,
    sam_neck,
)

STEM_WIDTHS = (28, 56)
STAGE_WIDTHS = (56, 112, 224, 448)
# (channels out, stride, squeeze-excite) of blocks 1–26
BLOCKS = (
    [(56, 1, True), (56, 1, False), (56, 1, False)]
    + [(112, 2, False), (112, 1, True), (112, 1, False), (112, 1, False)]
    + [(224, 2, False)]
    + [(224, 1, block % 2 == 1 and block <= 21) for block in range(9, 24)]
    + [(448, 1, False), (448, 1, True), (448, 1, False)]
)
STAGE_ENDS = (3, 7, 23, 26)  # last block of each stage; 56, 112, 224 and 448 channels

Activation = Callable[[], nn.Module]


class RepViTBlock(nn.Module):
    """Depthwise token mixer, then a pointwise channel mixer of expansion 2."""

    def __init__(self, inputs: int, outputs: int, stride: int, squeeze: bool, activation: Activation) -> None:
        super().__init__()
        if stride == 1:
            self.token_mixer = nn.Sequential(RepDepthwise(inputs), SqueezeExcite(inputs) if squeeze else nn.Identity())
        else:
            depthwise = ConvBN(inputs, inputs, 3, stride, groups=inputs)
            self.token_mixer = nn.Sequential(depthwise, nn.Identity(), ConvBN(inputs, outputs))
        width = inputs if stride == 1 else outputs
        mixer = nn.Sequential(ConvBN(width, 2 * width), activation(), ConvBN(2 * width, outputs))
        self.channel_mixer: nn.Module = Residual(mixer) if width == outputs else mixer

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.channel_mixer(self.token_mixer(x)))


class RepViT(nn.Module):
    """(B, 3, S, S) in [0, 1] → embedding (B, 256, S/4, S/4), by a neck on a list of the outputs of the four stages."""

    def __init__(self, neck: nn.Module, stem_strides: tuple[int, int], activation: Activation) -> None:
        super().__init__()
        stem = nn.Sequential(
            ConvBN(3, STEM_WIDTHS[0], 3, stem_strides[0]),
            activation(),
            ConvBN(STEM_WIDTHS[0], STEM_WIDTHS[1], 3, stem_strides[1]),
        )
        features: list[nn.Module] = [stem]
        width = STEM_WIDTHS[1]
        for outputs, stride, squeeze in BLOCKS:
            features.append(RepViTBlock(width, outputs, stride, squeeze, activation))
            width = outputs
        self.features = nn.ModuleList(features)
        self.neck = neck

    def forward(self, x: Tensor) -> Tensor:
        stages = []
        for index, block in enumerate(self.features):
            x = block(x)
            if index in STAGE_ENDS:
                stages.append(x)
        return cast(Tensor, self.neck(stages))


class PlainNeck(nn.Sequential):
    """SAM's neck on the output of the last stage (keys `neck.0`–`neck.3`)."""

    def __init__(self) -> None:
        super().__init__(*sam_neck(STAGE_WIDTHS[-1]))

    def forward(self, stages: list[Tensor]) -> Tensor:
        x = stages[-1]
        for layer in self:
            x = layer(x)
        return x


class PyramidNeck(nn.Module):
    """Feature pyramid (Lin et al., 2017): stages are projected; coarse ones are enlarged and added to finer ones."""

    WIDTH = 128

    def __init__(self, widths: tuple[int, ...] = STAGE_WIDTHS) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(ConvBN(width, self.WIDTH) for width in widths)
        self.smooth = ConvBN(self.WIDTH, EMBEDDING_DIM, 3)
        self.project = nn.Conv2d(EMBEDDING_DIM, EMBEDDING_DIM, 1, bias=False)
        self.norm = LayerNorm2d(EMBEDDING_DIM)

    def forward(self, stages: list[Tensor]) -> Tensor:
        laterals = [lateral(stage) for lateral, stage in zip(self.laterals, stages, strict=True)]
        x = laterals[-1]
        for lateral in reversed(laterals[:-1]):
            if lateral.shape[-1] != x.shape[-1]:
                x = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = x + lateral
        return cast(Tensor, self.norm(self.project(torch.relu(self.smooth(x)))))
