"""A PyTorch network behind the sdk's `Network` protocol, so that both engines run through the very same pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch

from medsam_edge.networks.model import Arrays, Model
from medsam_edge_convert.export import DecoderPart, EncoderPart, classes_of
from medsam_edge_train.models import MedSAM


class TorchNetwork:
    """A module called with arrays in the order of `inputs`; `outputs` names what it returns."""

    effective_precision = "f32"

    def __init__(self, module: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self._module = module.eval()
        self._inputs = inputs
        self._outputs = outputs

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        with torch.inference_mode():
            results = self._module(*(torch.tensor(inputs[name]) for name in self._inputs if name in inputs))
        return {name: result.numpy() for name, result in zip(self._outputs, results, strict=True)}


def torch_model(network: MedSAM, image_size: int, identity: str) -> Model:
    """A network as it is, fused or not, in f32; without windows masks may lie anywhere."""
    encoder, decoder = EncoderPart(network), DecoderPart(network, image_size)
    return Model(
        TorchNetwork(encoder, ["image"], encoder.outputs),
        TorchNetwork(decoder, decoder.inputs, decoder.outputs),
        image_size,
        identity,
        image_size,
        classes_of(network),
        context=network.context,
        prompts=network.prompt_kinds,
    )
