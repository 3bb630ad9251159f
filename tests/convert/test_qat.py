from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
import torch
from torch import nn

from medsam_edge import InputError, Modality, Segmenter
from medsam_edge.networks.bundle import load_bundle
from medsam_edge.networks.engine import off_main_thread
from medsam_edge.phantom import phantom
from medsam_edge_convert.checks import IMAGE_SIZE, make_probe
from medsam_edge_convert.convert import ConvertConfig, convert
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO, MedSAM
from medsam_edge_train.models.quantize import calibrate
from medsam_edge_train.models.repvit import RepViTBlock
from tests.convert.tiny import tiny


def gated() -> MedSAM:
    """With a RepViT block and its gates: seven convolutions, two of them the gates'."""
    return tiny(RepViTBlock(16, 16, 1, True, nn.ReLU))


IMAGE: npt.NDArray[np.float32] = make_probe(Modality.MR).image


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint with quantizers."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trained") / "tiny.safetensors"
    images = [torch.from_numpy(make_probe(modality).image[0]) for modality in (Modality.CT, Modality.MR, Modality.US)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ZOO, "tiny", gated)
        checkpoint.write(path, calibrate(gated(), images), "tiny")
        yield path


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What the conversion to int8 reports."""
    return []


@pytest.fixture(scope="module")
def bundle(trained: Path, lines: list[str]) -> Path:
    convert(
        ConvertConfig(trained, output=trained.parent / "int8", precision="int8"), lambda step: lines.append(str(step))
    )
    return trained.parent / "int8"


def weights_of(bundle: Path) -> list[str]:
    """The type of each convolution's weights in the encoder, sorted."""
    found = []
    for node in ov.Core().read_model(bundle / "encoder.xml").get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            source = node.input_value(1).get_node()
            while source.get_type_name() != "Constant":
                source = source.input_value(0).get_node()
            found.append(source.get_element_type().to_string())
    return sorted(found)


def embedding_of(checkpoint_file: Path, rounding: bool) -> npt.NDArray[np.float32]:
    network, _ = checkpoint.load(checkpoint_file)
    if not rounding:
        network.quantizers = None
    with torch.inference_mode():
        return np.asarray(network.embed(torch.from_numpy(IMAGE)).numpy())


def test_int8_needs_no_calibration(bundle: Path, lines: list[str]) -> None:
    assert "quantize  as trained, no calibration needed" in lines
    manifest = load_bundle(bundle).manifest
    assert manifest.encoder_precision == "int8"
    assert manifest.calibration["images"] == "in quantization-aware training"
    assert weights_of(bundle) == ["f32"] * 2 + ["i8"] * 5


def test_int8_gives_the_masks_that_were_trained(bundle: Path, trained: Path) -> None:
    network, _ = checkpoint.load(trained)
    source = phantom(Modality.DERMOSCOPY, seed=5)
    segmenters = Segmenter(bundle), Segmenter(torch_model(network, IMAGE_SIZE, "PyTorch"))
    got, expected = (segmenter.segment(source.image, source.boxes[:3]) for segmenter in segmenters)
    assert len(got) > 0
    for index in range(len(got)):
        assert 0.001 < expected.mask(index).mean() < 0.9
        assert (got.mask(index) == expected.mask(index)).mean() >= 0.99


def test_the_encoder_computes_in_int8_what_was_trained(bundle: Path, trained: Path) -> None:
    settings = {"PERF_COUNT": "YES", "INFERENCE_PRECISION_HINT": "f32"}
    request = off_main_thread(ov.compile_model, bundle / "encoder.xml", "CPU", settings).create_infer_request()
    got = request.infer({"image": IMAGE})["embedding"].astype(np.float32)
    expected, unrounded = (embedding_of(trained, rounding) for rounding in (True, False))
    assert np.abs(got - expected).mean() < 0.5 * np.abs(got - unrounded).mean()
    kinds = [info.exec_type.lower() for info in request.profiling_info if info.node_type.endswith("Convolution")]
    assert sorted("i8" in kind for kind in kinds) == [False] * 2 + [True] * 5


def test_f32_is_the_floating_point_network_of_the_same_weights(trained: Path, tmp_path: Path) -> None:
    manifest = convert(ConvertConfig(trained, output=tmp_path / "bundle", precision="f32"))
    assert manifest.calibration["images"] == "none"
    assert weights_of(tmp_path / "bundle") == ["f32"] * 7
    f32 = {"INFERENCE_PRECISION_HINT": "f32"}
    run = off_main_thread(ov.compile_model, tmp_path / "bundle" / "encoder.xml", "CPU", f32)
    np.testing.assert_allclose(run({"image": IMAGE})["embedding"], embedding_of(trained, rounding=False), atol=1e-4)


def test_without_quantizers_int8_still_needs_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ZOO, "tiny", gated)
    checkpoint.write(tmp_path / "float.safetensors", gated(), "tiny")
    with pytest.raises(InputError, match="calibration: int8 needs a folder of images, or 'phantoms'"):
        convert(ConvertConfig(tmp_path / "float.safetensors", output=tmp_path / "bundle", precision="int8"))
    assert not (tmp_path / "bundle").exists()
