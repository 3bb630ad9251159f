"""Fake quantization of the image encoder: training rounds each tensor as int8 inference will (Jacob et al.,
Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018).

Tensors are rounded where NNCF's post-training quantization rounds them: the weights of convolutions and linear layers,
and each map that such a layer, a sum, a product, a mean or an enlargement reads. These places are found while the
encoder runs, from the functions it calls, so that no network needs a second version. Tensors too small to gain from
int8 (the 1×1 maps of gates) and operations without an int8 kernel (norms, softmax, products of two activations) stay
in floating point.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from medsam_edge.errors import CheckpointError
from medsam_edge_train.models.layers import fuse
from medsam_edge_train.models.medsam import MedSAM

ACTIVATION_STEPS = 255
WEIGHT_STEPS = 63
"""Seven of eight bits: processors without VNNI add pairs of int8 products in 16 bits, which overflow with eight."""
SMALLEST_SCALE = 1e-8
"""Scale of a channel that is all zero, so that the reciprocal is finite."""

LAYERS = (nn.functional.conv2d, nn.functional.linear)
SUMS = (Tensor.add, Tensor.mul)
MAPS = (Tensor.mean, nn.functional.interpolate)


class Quantizer(nn.Module):
    """Rounds to 256 evenly spaced values, one of them zero; the gradient passes inside their range and is 0 outside.

    The range is fixed by the calibration: at a learning rate that keeps trained weights intact it would hardly move.

    Args:
        low, high: range of the tensor (1,), or of each channel (C,) of axis 1; extended to include zero.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        low, high = low.clamp(max=0), high.clamp(min=0)
        scale = ((high - low) / ACTIVATION_STEPS).clamp(min=SMALLEST_SCALE)
        self.register_buffer("scale", scale)
        # a float tensor: averaging (EMA) equal integers could give one less
        self.register_buffer("zero_point", torch.round(-low / scale))

    def forward(self, x: Tensor) -> Tensor:
        if self.scale.numel() == 1:
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, ACTIVATION_STEPS)
        return torch.fake_quantize_per_channel_affine(x, self.scale, self.zero_point, 1, 0, ACTIVATION_STEPS)


def round_weight(weight: Tensor) -> Tensor:
    """Round to -63…63 steps per output channel (axis 0); the largest absolute weight is step 63."""
    scale = (weight.detach().flatten(1).abs().amax(1) / WEIGHT_STEPS).clamp(min=SMALLEST_SCALE)
    return torch.fake_quantize_per_channel_affine(weight, scale, torch.zeros_like(scale), 0, -128, 127)


class Places(TorchFunctionMode):
    """While active, `at(number, tensor, per_channel)` replaces every tensor that int8 rounds, in the order of reading.

    A tensor that is read twice is one place. The input of a depthwise convolution is a separate place with a range per
    channel (`per_channel`): that costs nothing there, and channels of small range keep their values.
    """

    def __init__(self, at: Callable[[int, Tensor, bool], Tensor]) -> None:
        super().__init__()
        self._at = at
        # tensor read → tensor given; the former is kept so that no new tensor gets its id
        self._seen: dict[tuple[int, bool], tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LAYERS and not (args[0].dim() == 4 and args[0].shape[2] == args[0].shape[3] == 1):  # of gates
            x, weight, *rest = args
            depthwise = func is nn.functional.conv2d and bool(weight.shape[1] == 1)  # a tensor while tracing
            args = (self._read(x, depthwise), round_weight(weight), *rest)
        elif func in SUMS and isinstance(args[1], Tensor) and args[0].dim() == args[1].dim():  # of maps, not a bias
            args = (self._read(args[0]), self._read(args[1]), *args[2:])
        elif func in MAPS:
            args = (self._read(args[0]), *args[1:])
        return func(*args, **(kwargs or {}))

    def _read(self, x: Tensor, per_channel: bool = False) -> Tensor:
        key = (id(x), per_channel)
        if key not in self._seen:
            self._seen[key] = (x, self._at(len(self._seen), x, per_channel))
        return self._seen[key][1]


class Quantizers(nn.ModuleList):
    """One `Quantizer` for each place, in order."""

    def forward(self, encoder: nn.Module, images: Tensor) -> Tensor:
        """`encoder(images)` rounded as in int8; always in f32, because bf16 rounds as coarsely as int8.

        Raises:
            CheckpointError: the encoder has another number of places, so these are not its quantizers.
        """
        places = Places(self._round)
        with torch.autocast(images.device.type, enabled=False), places:
            embedding = encoder(images)
        if len(places) != len(self):
            raise CheckpointError(f"quantizers: expected {len(places)}, one for each place, got {len(self)}")
        return cast(Tensor, embedding)

    def _round(self, number: int, x: Tensor, per_channel: bool) -> Tensor:
        if number == len(self):
            raise CheckpointError(f"quantizers: expected one for each place, got only {len(self)}")
        return cast(Tensor, self[number](x))


@torch.no_grad()
def calibrate(network: MedSAM, images: Iterable[Tensor]) -> MedSAM:
    """Fuse a network and quantize its image encoder from now on, in place; returns the network.

    A range is the mean of the ranges of the images, (3, S, S) each and at least one, as in NNCF.
    """
    fuse(network.eval())
    ranges: defaultdict[int, list[Tensor]] = defaultdict(list)

    def observe(number: int, x: Tensor, per_channel: bool) -> Tensor:
        axes = (0, 2, 3) if per_channel else tuple(range(x.dim()))
        ranges[number].append(torch.stack([x.amin(axes).reshape(-1), x.amax(axes).reshape(-1)]))
        return x

    for image in images:
        with Places(observe):
            network.image_encoder(image[None])
    network.quantizers = Quantizers(Quantizer(*torch.stack(pairs).mean(0)) for pairs in ranges.values())
    return network


def is_quantized(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is of a network that `calibrate` has changed."""
    return any(key.startswith("quantizers.") for key in state)


def like(network: MedSAM, state: Mapping[str, Tensor]) -> MedSAM:
    """Fuse a network and add quantizers of the shapes in a state dict, in place, so that the state can be loaded."""
    fuse(network)
    names = [f"quantizers.{number}.scale" for number in range(len(state))]
    scales = [state[name] for name in names if name in state]
    network.quantizers = Quantizers(Quantizer(torch.zeros_like(scale), scale) for scale in scales)
    return network
