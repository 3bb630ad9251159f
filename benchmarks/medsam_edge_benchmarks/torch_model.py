"""A PyTorch network behind the sdk's `Network` protocol, so that both engines run through the very same pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from medsam_edge.bundle import sha256
from medsam_edge.model import Arrays, Model
from medsam_edge_convert.convert import IMAGE_SIZE
from medsam_edge_convert.export import DecoderPart, EncoderPart
from medsam_edge_train import checkpoint


class TorchNetwork:
    """A module called with named arrays."""

    effective_precision = "f32"

    def __init__(self, module: torch.nn.Module, outputs: tuple[str, ...]) -> None:
        self._module = module.eval()
        self._outputs = outputs

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        with torch.inference_mode():
            results = self._module(**{name: torch.tensor(value) for name, value in inputs.items()})
        results = results if isinstance(results, tuple) else (results,)
        return {name: result.numpy() for name, result in zip(self._outputs, results, strict=True)}


def torch_model(path: Path) -> Model:
    """The network of a checkpoint, unfused, in f32."""
    network, _ = checkpoint.load(path)
    encoder = TorchNetwork(EncoderPart(network), ("embedding",))
    decoder = TorchNetwork(DecoderPart(network, IMAGE_SIZE), ("logits", "scores"))
    return Model(encoder, decoder, IMAGE_SIZE, sha256(path.read_bytes()))
