from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from medsam_edge import ConversionError, FileMissingError, ImageError, InputError, Modality, Segmenter
from medsam_edge.cli.main import main
from medsam_edge.geometry import Geometry
from medsam_edge.networks.bundle import load_bundle
from medsam_edge_convert import convert as module
from medsam_edge_convert.accuracy import ObjectScore
from medsam_edge_convert.checks import IMAGE_SIZE, REACH, make_probe, reach_of
from medsam_edge_convert.convert import ConvertConfig, convert
from medsam_edge_convert.export import export_encoder
from medsam_edge_convert.gate import Accuracy, Gate, check_accuracy, measure_accuracy
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.data.cases import Case
from medsam_edge_train.data.shards import Blob
from medsam_edge_train.models import ZOO, MedSAM
from medsam_edge_train.models.transformer import MLP
from tests.convert.tiny import tiny
from tests.train.tiny import write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data")) / "val"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(ZOO, "tiny", tiny)
    torch.manual_seed(0)
    checkpoint.write(tmp_path / "tiny.safetensors", tiny(), "tiny")
    return tmp_path / "tiny.safetensors"


def score(modality: Modality, image: str, torch_dsc: float, bundle_dsc: float) -> ObjectScore:
    case = Case(Blob(Path()), Blob(Path()), modality, "set", image)
    return ObjectScore(case, 1, {"torch": torch_dsc, "bundle": bundle_dsc, "ellipse": 0.5})


ROWS = {"CT": {"torch": 90.0, "bundle": 89.5}, "US": {"torch": 80.0, "bundle": 78.5}}
TABLE = {**ROWS, "mean": {"torch": 85.0, "bundle": 84.0}}


@pytest.mark.parametrize(
    ("mean", "modality", "complaint"),
    [
        (1.0, 1.5, None),
        (0.9, 2.0, r"lost mean 1\.00;"),
        (1.0, 1.4, r"lost US 1\.50;"),
        (0.5, 0.4, "CT 0.50, US 1.50, mean"),
    ],
)
def test_the_gate_by_hand(mean: float, modality: float, complaint: str | None) -> None:
    accuracy, gate = Accuracy(TABLE, {}, []), Gate(Path(), max_drop=mean, max_modality_drop=modality)
    assert accuracy.drops == {"CT": 0.5, "US": 1.5, "mean": 1.0}
    if complaint is None:
        check_accuracy(accuracy, gate)
    else:
        with pytest.raises(ConversionError, match=complaint):
            check_accuracy(accuracy, gate)


def test_the_worst_are_what_lost_most_one_of_an_image() -> None:
    scores = [
        score(Modality.CT, "a", 0.9, 0.8),
        score(Modality.CT, "a", 0.9, 0.2),
        score(Modality.US, "b", 0.5, 0.6),
        score(Modality.US, "c", 0.5, 0.4),
    ]
    worst = Accuracy(TABLE, {}, scores).worst
    assert [(own.case.key, own.dsc["bundle"]) for own in worst] == [("a", 0.2), ("c", 0.4), ("b", 0.6)]


def test_bad_gates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="validation images"):
        Gate(tmp_path, images=0)
    with pytest.raises(InputError, match="max drop"):
        Gate(tmp_path, max_drop=-1)
    with pytest.raises(InputError, match="mixed needs a folder of images with masks"):
        ConvertConfig(tmp_path / "a", output=tmp_path / "b", precision="mixed", calibration="phantoms")
    with pytest.raises(InputError, match=r"report: expected a file \.html or \.json"):
        ConvertConfig(tmp_path / "a", output=tmp_path / "b", precision="f32", report=tmp_path / "report.txt")
    with pytest.raises(InputError, match=r"report: expected a file outside the bundle, got .*report.html"):
        ConvertConfig(tmp_path / "a", output=tmp_path / "b", precision="f32", report=tmp_path / "b" / "report.html")


def test_a_wrong_folder_is_said_before_the_slow_steps(source: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    for calibration, validation in ((tmp_path / "no", None), ("phantoms", tmp_path / "no")):
        gate = Gate(validation) if validation else None
        with pytest.raises(FileMissingError, match=r"no$"):
            config = ConvertConfig(
                source, output=tmp_path / "b", precision="int8", calibration=str(calibration), gate=gate
            )
            convert(config, lambda step: steps.append(step.name))
    assert steps == []


def test_masks_without_objects_are_no_measure(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "CT" / "empty" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "CT" / "empty" / folder / "a.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(ImageError, match="validation: expected labelled objects in"):
        measure_accuracy({}, Gate(tmp_path))


def test_what_was_measured_is_in_manifest_card_and_report(source: Path, data: Path, tmp_path: Path) -> None:
    bundle, report = tmp_path / "bundle", tmp_path / "report.html"
    command = ["convert", str(source), "-o", str(bundle), "--precision", "f16"]
    assert main([*command, "--validation", str(data), "--validation-images", "3", "--report", str(report)]) == 0
    manifest = load_bundle(bundle).manifest
    assert (manifest.encoder_precision, manifest.decoder_precision) == ("f16", "f16")
    assert Segmenter(bundle).embed(np.eye(64)).features.dtype == np.float16
    table = manifest.accuracy["dsc_percent"]
    assert set(table) == {"CT", "Fundus", "mean"}
    assert set(table["mean"]) == {"objects", "torch", "f32", "bundle", "ellipse"}
    assert table["mean"]["objects"] == 6  # three images of two objects
    assert abs(manifest.checks["accuracy"]) < 0.5  # points: half precision loses next to nothing
    assert f"{table['CT']['torch']:.1f}" in (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    page = report.read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == 3
    assert "<td>Fundus</td>" in page
    assert "http" not in page


def test_too_much_lost_leaves_no_bundle_but_the_report(
    source: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder that is another network's, as if quantization had gone wrong, under a decoder that listens to it."""
    torch.manual_seed(3)  # of a pair whose random masks are far apart
    deaf, other = tiny(), tiny()
    with torch.no_grad():
        for name, value in deaf.named_parameters():
            if name == "mask_decoder.output_hypernetworks_mlps.0.layers.2.weight":
                value.mul_(100)
    checkpoint.write(source, deaf, "tiny")
    monkeypatch.setattr(module, "quantize", lambda *_: export_encoder(cast(MedSAM, other.eval()), IMAGE_SIZE))
    gate = Gate(data, max_drop=-0.0, max_modality_drop=0.0)
    config = ConvertConfig(
        source,
        output=tmp_path / "bundle",
        precision="int8",
        calibration="phantoms",
        gate=gate,
        report=tmp_path / "report.json",
    )
    with pytest.raises(ConversionError, match="expected to lose at most"):
        convert(config)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.json", "tiny.safetensors"]
    values = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert values["failed"].startswith("accuracy: expected to lose at most")
    assert [step["name"] for step in values["steps"]][-2:] == ["accuracy", "modality"]


def test_mixed_keeps_the_gate(source: Path, data: Path, tmp_path: Path) -> None:
    gate = Gate(data, images=3, max_drop=1.0, max_modality_drop=100)
    manifest = convert(
        ConvertConfig(source, output=tmp_path / "bundle", precision="mixed", calibration="phantoms", gate=gate)
    )
    assert manifest.encoder_precision == "mixed"
    assert manifest.checks["accuracy"] <= 1.0


def test_masks_that_keep_to_their_boxes_are_decoded_only_there() -> None:
    network = tiny().eval().reparameterize()
    prior = network.mask_decoder.box_prior
    assert prior is not None
    with torch.no_grad():
        last = cast(nn.Linear, cast(MLP, network.mask_decoder.output_hypernetworks_mlps[0]).layers[-1])
        last.weight.zero_()
        last.bias.zero_()  # no word of the image: the ellipse alone
    probe = make_probe(Modality.CT)
    geometry, boxes = Geometry.of(probe.phantom.labels.shape, IMAGE_SIZE), probe.prompts.boxes
    inputs = {"boxes": boxes, "cells": geometry.windows(boxes, IMAGE_SIZE).cells}

    def reach() -> int:
        model = torch_model(network, IMAGE_SIZE, "PyTorch")
        embedding = model.encoder.infer({"image": probe.image})["embedding"]
        return reach_of(geometry, boxes, model.decoder.infer({"embedding": embedding, **inputs})["logits"])

    assert reach() == REACH
    with torch.no_grad():
        cast(nn.Linear, prior.coefficients.layers[-1]).bias.copy_(torch.tensor([0.0, 0, 0, 0, 0, 1]))  # everywhere
    assert reach() == IMAGE_SIZE
