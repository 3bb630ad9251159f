"""Class prompts through the converter: a real decoder behind a two-layer encoder, so that it takes seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn

from medsam_edge import BundleError, ConversionError, Modality, Segmenter
from medsam_edge.networks.bundle import load_bundle
from medsam_edge.networks.engine import off_main_thread
from medsam_edge_convert import quantize
from medsam_edge_convert.checks import check_parity, make_probe
from medsam_edge_convert.convert import ConvertConfig, convert
from medsam_edge_convert.export import export_decoder, export_encoder
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO
from medsam_edge_train.models.class_prompt import CLASSES, ClassPromptMedSAM, one_hot
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder


class TinyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 256, 3, 2, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(images)
        return features


def tiny() -> ClassPromptMedSAM:
    """Its head is sharp, so that classes are far apart."""
    torch.manual_seed(0)
    network = ClassPromptMedSAM(TinyEncoder(), PromptEncoder(), MaskDecoder(depth=1))
    with torch.no_grad():
        head = network.image_encoder.get_submodule("class_prediction_head.layers.2")
        head.get_parameter("weight").mul_(50)
    return network.eval()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8, converted once for all tests that only read it."""
    folder = tmp_path_factory.mktemp("prompted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ZOO, "prompted", tiny)
        patch.setattr(quantize, "PHANTOMS_PER_MODALITY", 1)
        checkpoint.write(folder / "prompted.safetensors", tiny(), "prompted")
        convert(
            ConvertConfig(
                folder / "prompted.safetensors", output=folder / "bundle", precision="int8", calibration="phantoms"
            )
        )
    return folder / "bundle"


@pytest.fixture(scope="module")
def exported() -> tuple[ov.Model, ov.Model]:
    return export_encoder(tiny(), 256), export_decoder(tiny(), 256)


@pytest.fixture(scope="module")
def segmenters(bundle: Path) -> tuple[Segmenter, Segmenter]:
    """The bundle, and the network in PyTorch."""
    return Segmenter(bundle), Segmenter(torch_model(tiny(), 256, "PyTorch"))


def operations(xml: Path) -> list[ov.Node]:
    return [node for node in ov.Core().read_model(xml).get_ordered_ops() if node.get_output_size()]


def test_the_manifest_names_the_classes_and_the_checks(bundle: Path) -> None:
    manifest = load_bundle(bundle).manifest
    assert manifest.classes == tuple(modality.value for modality in CLASSES)
    assert manifest.checks["bundle"] < 0.02
    assert manifest.checks["classes"] < 0.05


def test_the_head_stays_in_floating_point(bundle: Path) -> None:
    """The convolutions do not."""
    quantized = {node.get_friendly_name() for node in operations(bundle / "encoder.xml") if "Quantize" in str(node)}
    assert any("image_encoder" in name for name in quantized)
    assert not [name for name in quantized if "class_prediction_head" in name]
    outputs = ov.Core().read_model(bundle / "encoder.xml").outputs
    assert {port.any_name: tuple(port.shape) for port in outputs} == {
        "embedding": (1, 4096, 256),
        "class_scores": (1, 11),
    }


def test_the_tokens_of_the_classes_are_a_constant(bundle: Path) -> None:
    """One sine is left, of the boxes; neither class encoder is. The table is what PyTorch makes of each class."""
    nodes = operations(bundle / "decoder.xml")
    names = [node.get_friendly_name() for node in nodes]
    assert [name for name in names if name.endswith("/Sin")] == [
        "__module.network.prompt_encoder.pe_layer/aten::sin/Sin"
    ]
    assert not [name for name in names if "class_encoder" in name or "cat_encoder" in name]
    with torch.inference_mode():
        table = tiny().class_tokens().flatten(1).numpy()  # (11, 1024)
    constants = [node.data for node in nodes if node.get_type_name() == "Constant" and np.size(node.data) == 11 * 1024]
    assert len(constants) == 1
    values = constants[0] if constants[0].shape == table.shape else constants[0].T
    assert values.astype(np.float32) == pytest.approx(table, abs=2e-3)


@pytest.mark.parametrize("modality", [Modality.CT, Modality.MICROSCOPY, None])
def test_masks_follow_the_modality_as_in_pytorch(
    segmenters: tuple[Segmenter, Segmenter], modality: Modality | None
) -> None:
    probe = make_probe(Modality.ENDOSCOPY)
    got, expected = (segmenter.segment(probe.phantom.image, probe.boxes, modality) for segmenter in segmenters)
    assert got.modality is expected.modality
    assert (got.modality_confidence is None) is (modality is not None)
    assert (got.mask(0) == expected.mask(0)).mean() > 0.98


def test_class_scores_are_the_networks_softmax(segmenters: tuple[Segmenter, Segmenter]) -> None:
    probe = make_probe(Modality.FUNDUS)
    network = tiny()
    with torch.inference_mode():
        logits = network.classify(network.embed(torch.from_numpy(probe.image)))[0]
    exact = (logits.exp() / logits.exp().sum()).tolist()
    int8, f32 = (list(segmenter.embed(probe.phantom.image).class_scores.values()) for segmenter in segmenters)
    assert f32 == pytest.approx(exact, abs=1e-6)
    assert int8 == pytest.approx(exact, abs=0.05)


def test_another_class_changes_the_logits_as_in_pytorch(exported: tuple[ov.Model, ov.Model]) -> None:
    network = tiny()
    run = off_main_thread(ov.compile_model, exported[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    boxes = np.array([[16, 32, 160, 192], [80, 80, 120, 160]], np.float32)
    embedding = np.random.default_rng(0).standard_normal((1, 4096, 256)).astype(np.float32)
    cells = np.tile(np.arange(1000, 3000), (2, 1))
    logits = []
    for modality in (Modality.CT, Modality.XRAY):
        classes = one_hot([modality])
        with torch.inference_mode():
            expected, _ = network.decode(*map(torch.from_numpy, (embedding, boxes, cells)), classes=classes)
        inputs = {"embedding": embedding, "boxes": boxes, "cells": cells, "classes": classes.numpy()}
        logits.append(run(inputs)["logits"])
        np.testing.assert_allclose(logits[-1], expected.numpy(), atol=1e-3)
    assert np.abs(logits[0] - logits[1]).max() > 1e-2


def test_the_same_image_is_encoded_once_whatever_the_modality(segmenters: tuple[Segmenter, Segmenter]) -> None:
    probe = make_probe(Modality.DERMOSCOPY)
    segmenters[0].embed(probe.phantom.image)
    for modality in (Modality.DERMOSCOPY, Modality.CT):
        assert segmenters[0].segment(probe.phantom.image, probe.boxes, modality).timings_ms["encode"] == 0


@pytest.mark.parametrize("part", ["image_encoder.class_prediction_head.layers.2", "cat_encoder.layers.4"])
def test_another_head_and_other_class_tokens_are_noticed(exported: tuple[ov.Model, ov.Model], part: str) -> None:
    network = tiny()
    with torch.no_grad():
        weight = network.get_submodule(part).get_parameter("weight")
        weight.copy_(weight.flip(0))
    with pytest.raises(ConversionError, match="differs from PyTorch"):
        check_parity(network, *exported, [make_probe(Modality.CT)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(classes=[]), "class_scores"),
        (lambda values: values.update(classes=["CT", "MR"]), r"\(1, 2\), got \(1, 11\)"),
    ],
)
def test_a_manifest_with_other_classes_is_refused(
    bundle: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    values = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    change(values)
    for file in bundle.iterdir():
        (tmp_path / file.name).symlink_to(file) if file.name != "manifest.json" else None
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match=message):
        Segmenter(tmp_path)
