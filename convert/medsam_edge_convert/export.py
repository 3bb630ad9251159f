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
from medsam_edge_train.models.medsam import ExtraPrompts


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
    """embedding, boxes (N, 4) in network pixels, cells (N, K) → logits (N, K, 4, 4), scores (N,).

    Networks that take clicks and mask prompts also have `points`, `point_labels`, `prior` and `has_prior`, those with
    class prompts `classes`; see `medsam_edge.networks.bundle`.
    """

    outputs = ("logits", "scores")

    def __init__(self, network: MedSAM, image_size: int) -> None:
        super().__init__()
        self.network = network
        self.to_frame = network.prompt_encoder.frame / image_size
        self.takes_more = len(network.prompt_kinds) > 1
        more = ["points", "point_labels", "prior", "has_prior"] if self.takes_more else []
        self.inputs = ["embedding", "boxes", "cells", *more, *(["classes"] if classes_of(network) else [])]

    def forward(self, embedding: Tensor, boxes: Tensor, cells: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        boxes, extra = boxes * self.to_frame, None
        if self.takes_more:
            points, labels, prior, has_prior = others[:4]
            extra = ExtraPrompts((points + 0.5) * self.to_frame - 0.5, labels, prior, has_prior)
        if isinstance(self.network, ClassPromptMedSAM):
            classes = others[-1] if len(others) % 4 else None  # the class told, or what the head recognises
            return self.network.decode(embedding, boxes, cells, extra, classes)
        return self.network.decode(embedding, boxes, cells, extra)


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
    boxes = torch.tensor([[8.0, 8.0, 40.0, 48.0], [0.0, 0.0, 16.0, 16.0]])
    read = 3 if network.context is not None else rows[1]  # cells
    inputs: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "embedding": (torch.zeros(rows), rows),
        "boxes": (boxes, (-1, 4)),
        "cells": (torch.tensor([[0, 1, 2], [4, 5, 6]]), (-1, -1)),
        "points": (boxes.reshape(2, 2, 2), (-1, -1, 2)),
        "point_labels": (torch.tensor([[2, 3], [2, 3]]), (-1, -1)),
        "prior": (torch.zeros(2, read, 4, 4), (-1, -1, 4, 4)),
        "has_prior": (torch.ones(2), (-1,)),
        "classes": (one_hot([CLASSES[0]]), (1, len(CLASSES))),
    }
    alone = copy.deepcopy(network)
    alone.image_encoder = nn.Identity()  # tracing takes the longer the more parts there are
    part = DecoderPart(alone, image_size)
    return _trace(part, {name: inputs[name] for name in part.inputs})


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
