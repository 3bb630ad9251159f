from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn

from medsam_edge import (
    BundleError,
    CheckpointError,
    ConversionError,
    FileMissingError,
    ImageError,
    InputError,
    Modality,
    Segmenter,
)
from medsam_edge.cli.main import main
from medsam_edge.networks.bundle import MANIFEST_FILE, PROMPTS, load_bundle
from medsam_edge.networks.engine import off_main_thread
from medsam_edge_convert import convert as module
from medsam_edge_convert.checks import IMAGE_SIZE, check_decoder, check_fusion, check_parity, make_probe
from medsam_edge_convert.cli import run
from medsam_edge_convert.convert import ConvertConfig, convert
from medsam_edge_convert.export import export_decoder, export_encoder, halve_embedding
from medsam_edge_convert.quantize import calibration_set
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO, MedSAM
from medsam_edge_train.models.mask_decoder import MaskDecoder
from medsam_edge_train.models.prompt_encoder import PromptEncoder
from tests.convert.tiny import WIDTH, tiny

KEYS = Path(__file__).parent.parent / "data" / "rep_medsam.keys.json"


@pytest.fixture
def tiny_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(ZOO, "tiny", tiny)
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    checkpoint.write(path, tiny(), "tiny")
    return path


def published_state() -> dict[str, torch.Tensor]:
    """Random weights of the published layout; scales near one, variances of 0.5–1.5."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, (shape, dtype) in json.loads(KEYS.read_text(encoding="utf-8")).items():
        if dtype == "int64":
            state[key] = torch.zeros(shape, dtype=torch.int64)
        elif key.endswith("running_var"):
            state[key] = torch.rand(shape, generator=generator) + 0.5
        else:
            scale = 1.0 if key.endswith("weight") and len(shape) == 1 else 0.0
            state[key] = scale + 0.05 * torch.randn(shape, generator=generator)
    return state


@pytest.mark.slow
def test_published_checkpoint_becomes_the_same_network(tmp_path: Path) -> None:
    """Loads strictly, fuses, converts; the f32 bundle's masks are PyTorch's on at least 99.9 % of the pixels."""
    torch.save({"model": {f"module.{key}": value for key, value in published_state().items()}}, tmp_path / "rep.pth")
    bundle = tmp_path / "bundle"
    assert main(["convert", str(tmp_path / "rep.pth"), "-o", str(bundle), "--precision", "f32"]) == 0
    manifest = load_bundle(bundle).manifest
    assert manifest.architecture == "rep_medsam"
    assert manifest.checks["fuse"] < 1e-4

    network, _ = checkpoint.load(tmp_path / "rep.pth")
    probe = make_probe(Modality.ENDOSCOPY)
    result = Segmenter(bundle).segment(probe.phantom.image, probe.boxes)
    with torch.inference_mode():
        logits, scores = network.decode(
            network.embed(torch.from_numpy(probe.image)), torch.from_numpy(probe.prompts.boxes)
        )
    expected = logits[0].numpy() > 0  # the phantom has the network's size: no resizing between
    assert 0.01 < expected.mean() < 0.99
    assert (result.mask(0) == expected).mean() >= 0.999
    assert result.scores == pytest.approx(scores.numpy(), abs=1e-3)


def test_int8_bundle_is_close_and_hands_over_halves(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle"
    assert main(["convert", str(tiny_checkpoint), "-o", str(bundle), "--calibration", "phantoms"]) == 0
    assert capsys.readouterr().out == f"{bundle}\n"  # progress goes elsewhere
    manifest = load_bundle(bundle).manifest
    assert manifest.encoder_precision == "int8"
    assert manifest.calibration["images"] == "44 phantoms"
    assert manifest.checks["bundle"] < 0.02
    assert "i8" in {node.get_element_type().to_string() for node in _operations(bundle / "encoder.xml")}
    segmenter = Segmenter(bundle)
    assert segmenter.embed(np.eye(64)).features.dtype == np.float16
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bundle", "tiny.safetensors"]


def _operations(xml: Path) -> list[ov.Node]:
    return [node for node in ov.Core().read_model(xml).get_ordered_ops() if node.get_output_size()]


def test_calibration_reads_pictures_and_leaves_masks_out(tmp_path: Path) -> None:
    import cv2

    root = tmp_path / "masked-patients"  # which is not ours to leave out
    (root / "old").mkdir(parents=True)
    (root / "old" / "backup.tar").touch()  # nor this
    layouts = ("set/images", "set/masks", "other/images", "other/labels", "nnunet/imagesTr", "nnunet/labelsTr")
    for folder, count in zip(layouts, (3, 3, 1, 1, 1, 1), strict=True):
        (root / "CT" / folder).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(root / "CT" / folder / f"{number}.png"), np.full((8, 8), number, np.uint8))
    found = calibration_set(str(root), 64, count=3)
    assert found.source == "3 of 5 images"
    assert found.images[0].shape == (3, 64, 64)
    with pytest.raises(FileMissingError, match="calibration"):
        calibration_set(str(tmp_path / "nowhere"), 64)
    (tmp_path / "shards" / "train").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "shards" / "report.png"), np.zeros((8, 8), np.uint8))
    (tmp_path / "shards" / "train" / "000.tar").touch()
    with pytest.raises(ImageError, match=r"shards has shards in train and val, give one of them: .*shards/train"):
        calibration_set(str(tmp_path / "shards"), 64)
    with pytest.raises(InputError, match="no picture"):
        (tmp_path / "empty").mkdir()
        calibration_set(str(tmp_path / "empty"), 64)


def test_windows_and_ellipse_go_through_torch_ir_and_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ZOO, "tiny", tiny)
    torch.manual_seed(0)
    network = tiny()
    network.context, network.mask_decoder.ellipse = 0.5, 1.0
    checkpoint.write(tmp_path / "tiny.safetensors", network, "tiny")
    convert(ConvertConfig(tmp_path / "tiny.safetensors", output=tmp_path / "own", precision="f32"))
    manifest = convert(
        ConvertConfig(tmp_path / "tiny.safetensors", output=tmp_path / "b", precision="f32", ellipse=6.0)
    )
    assert manifest == load_bundle(tmp_path / "b").manifest
    assert (manifest.context, manifest.ellipse, manifest.prompts) == (0.5, 6.0, ("box",))
    assert load_bundle(tmp_path / "own").manifest.ellipse == 1.0
    network.mask_decoder.ellipse = 6.0
    engine, torched = Segmenter(tmp_path / "b"), Segmenter(torch_model(network.eval(), 256, "torch"))
    image = np.random.default_rng(0).integers(0, 255, (200, 256), dtype=np.uint8)
    boxes = [(100, 90, 120, 115), (0, 0, 30, 20), (0, 0, 256, 200), (230, 170, 256, 200), (40, 40, 110, 100)]
    found, expected = engine.segment(image, boxes), torched.segment(image, boxes)
    for own, other in zip(found, expected, strict=True):
        assert (own.mask == other.mask).mean() > 0.9999
    assert found.scores == pytest.approx(expected.scores, abs=1e-4)
    one_by_one = [engine.segment(image, [box])[0] for box in boxes]
    assert all((own.mask == alone.mask).mean() > 0.9999 for own, alone in zip(found, one_by_one, strict=True))


@pytest.mark.parametrize("context", [None, 0.5])
def test_clicks_and_masks_go_through_torch_ir_and_sdk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: float | None
) -> None:
    """With `prompts` all; masks of every kind of prompt are PyTorch's."""

    def build() -> MedSAM:
        torch.manual_seed(3)
        encoder = nn.Conv2d(3, 32, 4, 4)
        decoder = MaskDecoder(32, heads=2, hidden=64, box_prior=context is not None, hints=context is not None)
        if decoder.hints is not None:
            nn.init.normal_(decoder.hints.rows.weight)
            nn.init.normal_(decoder.hints.share.weight)
        return MedSAM(encoder, PromptEncoder(32, 4), decoder, context)

    monkeypatch.setitem(ZOO, "tiny", build)
    network = build()
    network.prompt_kinds = PROMPTS if context else PROMPTS[:1]
    checkpoint.write(tmp_path / "tiny.safetensors", network, "tiny")
    config = ConvertConfig(tmp_path / "tiny.safetensors", output=tmp_path / "b", precision="f32", prompts="all")
    manifest = convert(config)
    assert manifest.prompts == load_bundle(tmp_path / "b").manifest.prompts == ("box", "points", "mask")
    loaded, _ = checkpoint.load(tmp_path / "tiny.safetensors")
    loaded.prompt_kinds = PROMPTS
    probe = make_probe(Modality.ENDOSCOPY)
    image, boxes = probe.phantom.image, probe.boxes
    both = Segmenter(tmp_path / "b"), Segmenter(torch_model(loaded, IMAGE_SIZE, "torch"))
    clicks = {"points": [[[30, 40], [200, 9]]] * len(boxes), "point_labels": [[1, 0]] * len(boxes)}
    mask = np.zeros((len(boxes), *image.shape[:2]), bool)
    mask[:, 20:90, 30:120] = True
    plain = both[1].segment(image, boxes)
    for asked in (
        {"boxes": boxes, **clicks},
        {"boxes": boxes, "prior": mask},
        clicks,
        {"boxes": boxes, **clicks, "prior": mask},
    ):
        got, expected = (segmenter.segment(image, **asked) for segmenter in both)
        np.testing.assert_allclose(got.scores, expected.scores, atol=1e-4)
        for index in range(len(boxes)):
            assert (got.mask(index) == expected.mask(index)).mean() > 0.999
        assert np.abs(expected.scores - plain.scores).max() > 1e-4  # the prompt is heard
    said = json.loads((tmp_path / "b" / MANIFEST_FILE).read_text(encoding="utf-8"))
    (tmp_path / "b" / MANIFEST_FILE).write_text(json.dumps({**said, "prompts": ["box"]}))
    with pytest.raises(BundleError, match="prompts box, but the decoder takes points and masks"):
        Segmenter(tmp_path / "b")


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    for ellipse in (-1.0, 101.0, float("nan")):
        with pytest.raises(InputError, match="ellipse: expected 0 to 100"):
            ConvertConfig(tmp_path / "a", output=tmp_path / "b", precision="f32", ellipse=ellipse)
    with pytest.raises(InputError, match="precision"):
        ConvertConfig(tmp_path / "a", output=tmp_path / "b", precision="int4")
    with pytest.raises(InputError, match="exists"):
        ConvertConfig(tmp_path / "a", output=tmp_path, precision="f32")


def test_a_bundle_is_replaced_and_nothing_else(tiny_checkpoint: Path, tmp_path: Path) -> None:
    output, precious = tmp_path / "output", tmp_path / "output" / "precious.txt"
    output.mkdir()
    precious.touch()
    for file in (output, precious):
        with pytest.raises(InputError, match="is no bundle and is not replaced"):
            ConvertConfig(tiny_checkpoint, output=file, precision="f32", overwrite=True)
    (output / MANIFEST_FILE).touch()  # a bundle, if one that is broken
    manifest = convert(ConvertConfig(tiny_checkpoint, output=output, precision="f32", overwrite=True))
    assert load_bundle(output).manifest == manifest
    assert not precious.exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["output", "tiny.safetensors"]


def test_a_checkpoint_that_does_not_match_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path
) -> None:
    state = tiny().state_dict()
    state["mask_decoder.iou_token.weight"] = state["mask_decoder.iou_token.weight"].T
    del state["prompt_encoder.no_mask_embed.weight"]
    torch.save(state, tmp_path / "broken.pth")
    assert main(["convert", str(tmp_path / "broken.pth"), "-o", str(tmp_path / "bundle"), "--precision", "f32"]) == 1
    message = capsys.readouterr().err
    assert "mask_decoder.iou_token.weight (expected (1, 32), got (32, 1))" in message
    assert "prompt_encoder.no_mask_embed.weight" in message
    assert "does not match tiny" in message
    assert not (tmp_path / "bundle").exists()
    with pytest.raises(CheckpointError):
        convert(ConvertConfig(tmp_path / "broken.pth", output=tmp_path / "bundle", precision="f32"))


def test_a_failing_last_step_leaves_nothing(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "check_bundle", lambda *_: {"bundle_mask_agreement": 0.5})
    with pytest.raises(ConversionError, match="masks agree"):
        convert(ConvertConfig(tiny_checkpoint, output=tmp_path / "bundle", precision="f32"))
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.safetensors"]


@pytest.mark.parametrize("raised", [RuntimeError("out of luck"), KeyboardInterrupt()])
@pytest.mark.parametrize("suffix", [".html", ".json"])
def test_the_report_says_what_broke_off(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, suffix: str
) -> None:
    def check_bundle(*_: Any) -> None:
        raise raised

    monkeypatch.setattr(module, "check_bundle", check_bundle)
    report = tmp_path / f"report{suffix}"
    with pytest.raises(type(raised)):
        convert(ConvertConfig(tiny_checkpoint, output=tmp_path / "bundle", precision="f32", report=report))
    text = report.read_text(encoding="utf-8")
    assert (str(raised) or "KeyboardInterrupt") in text
    assert ">converted<" not in text


@pytest.mark.parametrize("option", ["--max-drop", "--max-modality-drop", "--validation-images"])
def test_limits_without_images_to_measure_on_are_wrong_usage(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    words = ["convert", str(tiny_checkpoint), "-o", str(tmp_path / "bundle"), "--precision", "f32"]
    assert main([*words, option, "1"]) == 2
    assert "--validation requires an argument" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_wrong_fusion_is_noticed() -> None:
    network, other = tiny().eval().double(), tiny().eval().double()
    with pytest.raises(ConversionError, match="batch norms are left"):
        check_fusion(network, other, [make_probe(Modality.CT)])
    with pytest.raises(ConversionError, match="difference"):
        check_fusion(network, _fused(other), [make_probe(Modality.CT)])


def test_wrong_export_is_noticed() -> None:
    network, other = _fused(tiny().eval()), _fused(tiny().eval())
    with pytest.raises(ConversionError, match="differs from PyTorch"):
        check_parity(network, export_encoder(other, 256), export_decoder(network, 256), [make_probe(Modality.CT)])


def test_wrong_scores_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks that are the same to the pixel do not show them."""
    network = _fused(tiny().eval())
    other = copy.deepcopy(network)
    with torch.no_grad():
        cast(nn.Linear, other.mask_decoder.iou_prediction_head.layers[-1]).bias.add_(0.01)
    encoder, probes = export_encoder(network, 256), [make_probe(Modality.CT)]
    assert check_parity(network, encoder, export_decoder(network, 256), probes).difference < 1e-4
    with pytest.raises(ConversionError, match="differs from PyTorch"):
        check_parity(network, encoder, export_decoder(other, 256), probes)
    monkeypatch.setattr(MedSAM, "reparameterize", lambda _: copy.deepcopy(other).double())
    with pytest.raises(ConversionError, match="decoder: expected a difference of at most"):
        check_decoder(network.double(), probes)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_decoder_takes_any_number_of_boxes(count: int) -> None:
    network = tiny().eval()
    encoder, decoder = halve_embedding(export_encoder(network, 64), export_decoder(network, 64))
    assert encoder.output("embedding").get_element_type() == ov.Type.f16
    run = off_main_thread(ov.compile_model, decoder, "CPU")
    boxes = np.linspace(4, 60, count * 4, dtype=np.float32).reshape(count, 4)
    embedding = np.random.default_rng(0).standard_normal((1, 256, WIDTH)).astype(np.float16)
    cells = np.arange(count * 5).reshape(count, 5)
    outputs = run({"embedding": embedding, "boxes": boxes, "cells": cells})
    assert outputs["logits"].shape == (count, 5, 4, 4)
    assert outputs["scores"].shape == (count,)
    alone = run({"embedding": embedding, "boxes": boxes[-1:], "cells": cells[-1:]})
    assert outputs["logits"][-1] == pytest.approx(alone["logits"][0], abs=1e-3)


def _fused(network: MedSAM) -> MedSAM:
    from medsam_edge_train.models import fuse

    fused = fuse(network)
    assert isinstance(fused, MedSAM)
    return fused


def test_the_teacher_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "load", lambda *_: (tiny(), "medsam_vit_b"))
    with pytest.raises(InputError, match="medsam_vit_b is only ever a teacher"):
        convert(ConvertConfig(tmp_path / "teacher.pth", output=tmp_path / "bundle", precision="f32"))
    assert not (tmp_path / "bundle").exists()


def test_tests_report_to_nobody() -> None:
    """Also where a test's file imports OpenVINO first, as this one does."""
    assert sys.modules["openvino_telemetry"] is None


def test_a_dry_run_checks_what_goes_in_and_writes_nothing(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-o", str(tmp_path / "bundle"), "--dry-run"]
    assert run([str(tiny_checkpoint), *words, "--precision", "f32"]) == 0
    assert "network      tiny, " in capsys.readouterr().out
    with pytest.raises(InputError, match="calibration: int8 needs"):
        run([str(tiny_checkpoint), *words])
    with pytest.raises(FileMissingError, match="no such file"):
        run([str(tmp_path / "missing.pth"), *words, "--precision", "f32"])
    with pytest.raises(FileMissingError, match="expected a folder"):
        run([str(tiny_checkpoint), *words, "--precision", "f32", "--validation", str(tmp_path / "none")])
    assert not (tmp_path / "bundle").exists()
