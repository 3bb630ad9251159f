"""PyTorch → OpenVINO: the two parts of a bundle."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import cast

import numpy as np
import openvino as ov
import torch
from openvino.preprocess import PrePostProcessor
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from medsam_edge.modality import Modality
from medsam_edge_train.models import MedSAM
from medsam_edge_train.models.class_prompt import CLASSES, ClassPromptMedSAM, one_hot


class EncoderPart(nn.Module):
    """image (1, 3, S, S) → embedding (1, (S/4)², channels); with class prompts also class_scores (1, C)."""

    def __init__(self, network: MedSAM) -> None:
        super().__init__()
        self.network = network
        self.outputs = ["embedding", "class_scores"] if classes_of(network) else ["embedding"]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        embedding = self.network.embed(image)
        if isinstance(self.network, ClassPromptMedSAM):
            return embedding, torch.softmax(self.network.classify(embedding), dim=1)
        return (embedding,)


class DecoderPart(nn.Module):
    """embedding, boxes (N, 4) in network pixels, cells (N, K), with class prompts also classes (1, C) one-hot → logits
    (N, K, 4, 4), scores (N,)."""

    outputs = ("logits", "scores")

    def __init__(self, network: MedSAM, image_size: int) -> None:
        super().__init__()
        self.network = network
        self.to_frame = network.prompt_encoder.frame / image_size

    def forward(
        self, embedding: Tensor, boxes: Tensor, cells: Tensor, classes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        boxes = boxes * self.to_frame
        if isinstance(self.network, ClassPromptMedSAM):
            return self.network.decode(embedding, boxes, cells, classes)
        return self.network.decode(embedding, boxes, cells)


def classes_of(network: MedSAM) -> tuple[Modality, ...]:
    """What each class score stands for; empty for networks without class prompts."""
    return CLASSES if isinstance(network, ClassPromptMedSAM) else ()


def export_encoder(network: MedSAM, image_size: int) -> ov.Model:
    """The encoder as a static OpenVINO model, f32."""
    shape = (1, 3, image_size, image_size)
    return _trace(EncoderPart(network), {"image": (torch.zeros(shape), shape)})


def export_decoder(network: MedSAM, image_size: int) -> ov.Model:
    """The decoder as an OpenVINO model for any number of boxes and cells, f32. The tokens of all classes are a constant
    in it."""
    rows = (1, (image_size // 4) ** 2, network.prompt_encoder.no_mask_embed.embedding_dim)
    inputs: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "embedding": (torch.zeros(rows), rows),
        "boxes": (torch.tensor([[8.0, 8.0, 40.0, 48.0], [0.0, 0.0, 16.0, 16.0]]), (-1, 4)),
        "cells": (torch.tensor([[0, 1, 2], [4, 5, 6]]), (-1, -1)),
    }
    if classes := classes_of(network):
        inputs["classes"] = (one_hot([classes[0]]), (1, len(classes)))
    alone = copy.deepcopy(network)
    alone.image_encoder = nn.Identity()  # tracing takes the longer the more parts there are
    return _trace(DecoderPart(alone, image_size), inputs)


def halve_embedding(encoder: ov.Model, decoder: ov.Model) -> tuple[ov.Model, ov.Model]:
    """Hand the embedding over in half precision, for half the cache; the parts still compute as they did."""
    giving = PrePostProcessor(encoder)
    giving.output("embedding").tensor().set_element_type(ov.Type.f16)
    taking = PrePostProcessor(decoder)
    taking.input("embedding").tensor().set_element_type(ov.Type.f16)
    return giving.build(), taking.build()


def _trace(part: EncoderPart | DecoderPart, inputs: Mapping[str, tuple[Tensor, tuple[int, ...]]]) -> ov.Model:
    """A part as an OpenVINO model, of an example and the shape of each input, -1 for any size."""
    example = tuple(value for value, _ in inputs.values())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)  # the grid's side is a constant of the trace, as meant
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.export's graph of the decoder runs 1.4 times slower
        # the parity check is the better check
        traced = torch.jit.trace(part.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
    types = [(shape, np.int64 if value.dtype == torch.int64 else np.float32) for value, shape in inputs.values()]
    model = ov.convert_model(traced, input=types, example_input=example)
    for port, name in zip([*model.inputs, *model.outputs], [*inputs, *part.outputs], strict=True):
        cast(ov.Output, port).get_tensor().set_names({name})
    model.validate_nodes_and_infer_types()
    return model
