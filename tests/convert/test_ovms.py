"""The layout of OpenVINO Model Server: `medsam-edge convert … --layout ovms`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import openvino as ov
import pytest
import torch

from medsam_edge.cli.main import main
from medsam_edge.errors import InputError
from medsam_edge.networks.bundle import MANIFEST_FILE, load_bundle, packaged_bundle
from medsam_edge_convert.convert import ConvertConfig, convert
from medsam_edge_train import checkpoint
from medsam_edge_train.models import ZOO
from tests.convert.tiny import tiny
from tests.sdk.tiny_bundle import write_tiny_bundle

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "model-server.md"
FILES = [
    "MODEL_CARD.md",
    "config.json",
    "decoder/1/decoder.bin",
    "decoder/1/decoder.xml",
    "encoder/1/encoder.bin",
    "encoder/1/encoder.xml",
    "manifest.json",
]


def files_in(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def test_a_bundle_becomes_a_repository_of_the_same_bytes(tmp_path: Path) -> None:
    bundle, output = write_tiny_bundle(tmp_path / "bundle"), tmp_path / "models"
    assert main(["convert", str(bundle), "--layout", "ovms", "-o", str(output)]) == 0
    assert files_in(output) == FILES
    for name, content in load_bundle(bundle).contents.items():
        assert (output / Path(name).stem / "1" / name).read_bytes() == content
    listed = json.loads((output / "config.json").read_text(encoding="utf-8"))["model_config_list"]
    assert [(own["config"]["name"], own["config"]["base_path"]) for own in listed] == [
        ("encoder",) * 2,
        ("decoder",) * 2,
    ]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bundle", "models"]


def test_a_checkpoint_becomes_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ZOO, "tiny", tiny)
    torch.manual_seed(0)
    checkpoint.write(tmp_path / "tiny.safetensors", tiny(), "tiny")
    config = ConvertConfig(tmp_path / "tiny.safetensors", output=tmp_path / "models", precision="f32", layout="ovms")
    manifest = convert(config)
    assert files_in(tmp_path / "models") == FILES
    assert json.loads((tmp_path / "models" / MANIFEST_FILE).read_text(encoding="utf-8"))["files"] == dict(
        manifest.files
    )


def test_a_damaged_bundle_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    (bundle / "decoder.bin").write_bytes(b"x")
    assert main(["convert", str(bundle), "--layout", "ovms", "-o", str(tmp_path / "models")]) == 1
    assert "differs from its sha256" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bundle"]
    with pytest.raises(InputError, match="layout"):
        ConvertConfig(bundle, output=tmp_path / "models", layout="triton")  # type: ignore[arg-type]


def test_the_page_has_the_names_types_and_shapes_of_the_packaged_networks() -> None:
    rows = re.findall(
        r"^\| (encoder|decoder) \| (input|output) \| `(\w+)` \| (\w+) \| `(.+?)` \|",
        PAGE.read_text(encoding="utf-8"),
        re.M,
    )
    documented = {(part, way, name): (kind, shape) for part, way, name, kind, shape in rows}
    found = {}
    core, letters = ov.Core(), {"N": "?", "K": "?", "T": "?", "P": "?"}
    for part in ("encoder", "decoder"):
        network = core.read_model(packaged_bundle() / f"{part}.xml")
        for way, ports in (("input", network.inputs), ("output", network.outputs)):
            for port in ports:
                sides = ["?" if side.is_dynamic else str(side.get_length()) for side in port.partial_shape]
                found[part, way, port.any_name] = (port.element_type.get_type_name(), ", ".join(sides))
    told = {
        key: (kind, ", ".join(letters.get(side, side) for side in shape.split(", ")))
        for key, (kind, shape) in documented.items()
    }
    assert told == found
