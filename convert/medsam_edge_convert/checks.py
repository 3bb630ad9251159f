"""What each step of a conversion must prove. Every check gives its numbers, or raises with them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import nn

from medsam_edge import Segmenter
from medsam_edge.errors import ConversionError
from medsam_edge.geometry import CELL, Geometry, window_groups
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import Phantom, phantom
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train.models import MedSAM

IMAGE_SIZE = 256
ALGEBRA_LIMIT = 1e-6
"""Largest difference that fusing may make to the embedding, and re-parameterizing to logits and scores, as a share of
the largest value, in double precision: both are exact algebra, and a deep network of unusual weights can amplify the
rounding of f32 to any size."""
ALGEBRA_STRIDE = 4
"""They are checked on every fourth pixel of the probes; the algebra does not depend on the resolution."""
PARITY_LIMIT = 1e-3
"""Likewise between PyTorch and OpenVINO in f32."""
AGREEMENT_LIMIT = 0.999
"""Share of mask pixels on which PyTorch and the f32 model must agree."""
REACH = 16
"""How far beyond its box a mask may lie, in network pixels, where the network's masks keep to their boxes."""

PROBE_SEED = 7
PROBE_BOXES = 4


@dataclass(frozen=True, eq=False)
class Probe:
    """A phantom as the sdk hands it to the network, with a few boxes."""

    phantom: Phantom
    image: npt.NDArray[np.float32]  # (1, 3, S, S)
    boxes: npt.NDArray[np.float32]  # (N, 4) in image pixels
    prompts: npt.NDArray[np.float32]  # (N, 4) in network pixels
    cells: npt.NDArray[np.int64]  # (N, P): all of the grid


def make_probe(modality: Modality) -> Probe:
    source = phantom(modality, seed=PROBE_SEED)
    geometry = Geometry.of(source.labels.shape, IMAGE_SIZE)
    image = geometry.image_to_network(to_display(source.image, modality))[None]
    boxes = source.boxes[:PROBE_BOXES]
    prompts = geometry.boxes_to_network(boxes)
    return Probe(source, image, boxes, prompts, geometry.windows(prompts, IMAGE_SIZE).cells)


def check_fusion(network: MedSAM, fused: MedSAM, probes: list[Probe]) -> float:
    """Largest difference of the embeddings before and after, over the largest value. Both networks in double precision.

    Raises ConversionError above `ALGEBRA_LIMIT`, or if a batch norm is left.
    """
    if left := [name for name, part in fused.named_modules() if isinstance(part, nn.BatchNorm2d)]:
        raise ConversionError(f"fuse: batch norms are left: {', '.join(left)}")
    differences = []
    for probe in probes:
        image = _thinned(probe)
        with torch.inference_mode():
            differences.append(relative_difference(network.embed(image).numpy(), fused.embed(image).numpy()))
    return _within("fuse", differences)


def check_decoder(network: MedSAM, probes: list[Probe]) -> float:
    """Largest difference of logits or scores as published and re-parameterized, over the largest. In double precision.

    Raises ConversionError above `ALGEBRA_LIMIT`.
    """
    cheap = copy.deepcopy(network).reparameterize()
    differences = []
    for probe in probes:
        with torch.inference_mode():
            rows, boxes = network.embed(_thinned(probe)), torch.from_numpy(probe.prompts).double()
            pairs = zip(network.decode(rows, boxes), cheap.decode(rows, boxes), strict=True)
            differences += [relative_difference(expected.numpy(), got.numpy()) for expected, got in pairs]
    return _within("decoder", differences)


@dataclass(frozen=True)
class Parity:
    """Of PyTorch and OpenVINO in f32."""

    difference: float  # the largest of any output of encoder or decoder, as a share of that output's largest value
    agreement: float  # the smallest share of mask pixels that are the same
    reach: int  # how far beyond their boxes masks lie, see `reach_of`


def check_parity(network: MedSAM, encoder: ov.Model, decoder: ov.Model, probes: list[Probe]) -> Parity:
    """Compare PyTorch with the exported f32 model on whole images; class prompts with the class told and the likeliest.

    Raises:
        ConversionError: an output differs by more than `PARITY_LIMIT`, or masks agree on less than `AGREEMENT_LIMIT`.
    """
    run_encoder, run_decoder = (
        ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}) for model in (encoder, decoder)
    )
    reference = torch_model(network, IMAGE_SIZE, "PyTorch")
    differences, agreements, reaches = [], [], []
    for probe in probes:
        expected, got = reference.encoder.infer({"image": probe.image}), run_encoder({"image": probe.image})
        differences += [relative_difference(value, got[name]) for name, value in expected.items()]
        prompts: list[dict[str, npt.NDArray[np.float32]]] = [{}]
        if reference.classes:
            likeliest = reference.classes[int(got["class_scores"].argmax())]
            prompts = [{"classes": reference.one_hot(modality)} for modality in (probe.phantom.modality, likeliest)]
        for prompt in prompts:
            inputs: dict[str, npt.NDArray[Any]] = {"boxes": probe.prompts, "cells": probe.cells, **prompt}
            for asked in (inputs, *_in_windows(network, inputs)):
                decoded = reference.decoder.infer({"embedding": expected["embedding"], **asked})
                again = run_decoder({"embedding": got["embedding"], **asked})
                differences += [relative_difference(value, again[name]) for name, value in decoded.items()]
                agreements.append(float(((again["logits"] > 0) == (decoded["logits"] > 0)).mean()))
                if asked is inputs:
                    reaches.append(reach_of(probe, decoded["logits"]))
    parity = Parity(float(np.max(differences)), min(agreements), max(reaches))
    if not (parity.difference <= PARITY_LIMIT and parity.agreement >= AGREEMENT_LIMIT):
        raise ConversionError(f"export: OpenVINO differs from PyTorch: {parity}")
    return parity


def _in_windows(network: MedSAM, inputs: dict[str, npt.NDArray[Any]]) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The same prompts in windows, for a network that has them."""
    if network.context is not None:
        for indices, windows in window_groups(inputs["boxes"], network.context, IMAGE_SIZE // CELL):
            yield {**inputs, "boxes": inputs["boxes"][indices], "cells": windows.cells}


def check_bundle(bundle: Path, network: MedSAM, probes: list[Probe]) -> dict[str, float]:
    """Segment with the bundle and with PyTorch, both through the sdk, the modality told.

    Gives `bundle_mask_agreement`, the smallest share of image pixels on which a mask is the same; with class prompts
    also `bundle_class_difference`, the largest difference of a class's probability.
    """
    segmenters = Segmenter(bundle), Segmenter(torch_model(network, IMAGE_SIZE, "PyTorch"))
    agreements, differences = [], []
    for probe in probes:
        ours, reference = (segmenter.embed(probe.phantom.image, probe.phantom.modality) for segmenter in segmenters)
        differences += [abs(score - reference.class_scores[name]) for name, score in ours.class_scores.items()]
        got, expected = segmenters[0].decode(ours, probe.boxes), segmenters[1].decode(reference, probe.boxes)
        agreements += [float((got.mask(index) == expected.mask(index)).mean()) for index in range(len(got))]
    checks = {"bundle_mask_agreement": min(agreements)}
    return checks | {"bundle_class_difference": max(differences)} if differences else checks


def reach_of(probe: Probe, logits: npt.NDArray[np.float32]) -> int:
    """`REACH` if all of the probe's masks, by (N, P, 4, 4) logits of all cells, lie within it, which lets the decoder
    look only there; else the whole image."""
    geometry = Geometry.of(probe.phantom.labels.shape, IMAGE_SIZE)
    for mask, box in zip(logits.max(axis=(2, 3)) > 0, probe.prompts, strict=True):
        mask[geometry.windows(box[None], REACH).cells[0]] = False
        if mask.any():
            return IMAGE_SIZE
    return REACH


def relative_difference(expected: npt.NDArray[Any], got: npt.NDArray[Any]) -> float:
    """Largest difference over the largest value."""
    return float(np.abs(expected - got).max() / np.abs(expected).max())


def _thinned(probe: Probe) -> torch.Tensor:
    return torch.from_numpy(probe.image[:, :, ::ALGEBRA_STRIDE, ::ALGEBRA_STRIDE]).double()


def _within(step: str, differences: list[float]) -> float:
    difference = float(np.max(differences))
    if not difference <= ALGEBRA_LIMIT:
        raise ConversionError(f"{step}: expected a difference of at most {ALGEBRA_LIMIT}, got {difference:.2e}")
    return difference
