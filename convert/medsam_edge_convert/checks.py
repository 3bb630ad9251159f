"""What each step of a conversion must prove. Every check gives its numbers, or raises with them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import nn

from medsam_edge import Segmentation, Segmenter
from medsam_edge.errors import ConversionError
from medsam_edge.geometry import Geometry
from medsam_edge.inference.cache import EmbeddingCache
from medsam_edge.inference.predictor import Predictor, Prompts
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.networks.engine import off_main_thread
from medsam_edge.networks.model import Model
from medsam_edge.phantom import Phantom, phantom
from medsam_edge.prompts import Clicks
from medsam_edge.results.mask import Logits
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
    prompts: Prompts  # boxes alone, in network pixels


def make_probe(modality: Modality) -> Probe:
    source = phantom(modality, seed=PROBE_SEED)
    geometry = Geometry.of(source.labels.shape, IMAGE_SIZE)
    image = geometry.image_to_network(to_display(source.image, modality))[None]
    boxes = source.boxes[:PROBE_BOXES]
    return Probe(source, image, boxes, Prompts(geometry.boxes_to_network(boxes)))


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
            rows, boxes = network.embed(_thinned(probe)), torch.from_numpy(probe.prompts.boxes).double()
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
        off_main_thread(ov.compile_model, model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for model in (encoder, decoder)
    )
    reference = torch_model(network, IMAGE_SIZE, "PyTorch")
    predictor = Predictor(reference, EmbeddingCache(0))
    differences, agreements, reaches = [], [], []
    for probe in probes:
        expected, got = reference.encoder.infer({"image": probe.image}), run_encoder({"image": probe.image})
        differences += [relative_difference(value, got[name]) for name, value in expected.items()]
        classes: list[dict[str, npt.NDArray[np.float32]]] = [{}]
        if reference.classes:
            likeliest = reference.classes[int(got["class_scores"].argmax())]
            classes = [{"classes": reference.one_hot(modality)} for modality in (probe.phantom.modality, likeliest)]
        geometry = Geometry.of(probe.phantom.labels.shape, IMAGE_SIZE)
        for told, prompts in product(classes, prompts_of_every_kind(reference, probe)):
            for batch, _, asked in predictor.batches(geometry, prompts):
                decoded = reference.decoder.infer({"embedding": expected["embedding"], **told, **asked})
                again = run_decoder({"embedding": got["embedding"], **told, **asked})
                differences += [relative_difference(value, again[name]) for name, value in decoded.items()]
                agreements.append(float(((again["logits"] > 0) == (decoded["logits"] > 0)).mean()))
                if prompts.everywhere:
                    reaches.append(reach_of(geometry, probe.prompts.boxes[batch], decoded["logits"]))
    parity = Parity(float(np.max(differences)), min(agreements), max(reaches))
    if not (parity.difference <= PARITY_LIMIT and parity.agreement >= AGREEMENT_LIMIT):
        raise ConversionError(f"export: OpenVINO differs from PyTorch: {parity}")
    return parity


def prompts_of_every_kind(model: Model, probe: Probe) -> list[Prompts]:
    """Boxes in the whole grid, first, and in windows; with clicks, with masks, with both; clicks alone."""
    boxes = probe.prompts.boxes
    kinds = [Prompts(boxes, everywhere=True), probe.prompts]
    if model.prompts == ("box",):
        return kinds
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    labels = np.array([1, 0])
    clicks = [Clicks(np.stack([middle, box[:2]]), labels) for middle, box in zip(middles, boxes, strict=True)]
    rows, columns = np.indices((IMAGE_SIZE, IMAGE_SIZE))
    disk = (np.float32(40) - np.hypot(columns - middles[0, 0], rows - middles[0, 1]).astype(np.float32)) / 4
    masks = {0: Logits(0, 0, disk)}  # of the first object; the others have none
    both = Prompts(boxes, clicks=clicks, priors=masks)
    alone = Prompts(np.full_like(boxes, np.nan), clicks=clicks)
    return [*kinds, Prompts(boxes, clicks=clicks), Prompts(boxes, priors=masks), both, alone]


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
        results = [one.decode(own, probe.boxes) for one, own in zip(segmenters, (ours, reference), strict=True)]
        agreements += _agreements(*results)
        if len(network.prompt_kinds) > 1:
            clicks = {
                "points": (probe.boxes[:, None, :2] + probe.boxes[:, None, 2:]) / 2,
                "point_labels": [[1]] * len(probe.boxes),
            }
            agreements += _agreements(*(result.refine(**clicks) for result in results))
    checks = {"bundle_mask_agreement": min(agreements)}
    return checks | {"bundle_class_difference": max(differences)} if differences else checks


def _agreements(got: Segmentation, expected: Segmentation) -> list[float]:
    """Share of pixels on which each mask is the same."""
    return [float((got.mask(index) == expected.mask(index)).mean()) for index in range(len(got))]


def reach_of(geometry: Geometry, boxes: npt.NDArray[np.float32], logits: npt.NDArray[np.float32]) -> int:
    """`REACH` if all masks, by (N, P, 4, 4) logits of all cells, lie within it of their boxes (N, 4) in network pixels,
    which lets the decoder look only there; else the whole image."""
    for mask, box in zip(logits.max(axis=(2, 3)) > 0, boxes, strict=True):
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
