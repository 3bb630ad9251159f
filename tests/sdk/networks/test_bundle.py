from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medsam_edge import BundleError, Segmenter
from medsam_edge.networks.bundle import (
    MAXIMUM_MANIFEST_BYTES,
    MODEL_FILES,
    load_bundle,
    packaged_bundle,
    parse_manifest,
)
from tests.sdk.tiny_bundle import write_tiny_bundle

Values = dict[str, Any]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(packaged_bundle(), tmp_path / "bundle"))


def rewrite(bundle: Path, change: Callable[[Values], Any]) -> None:
    file = bundle / "manifest.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(json.dumps(values))


def test_packaged_bundle_is_whole_and_small() -> None:
    loaded = load_bundle(packaged_bundle())
    assert set(loaded.contents) == set(MODEL_FILES)
    assert sum(file.stat().st_size for file in packaged_bundle().iterdir()) < 20e6
    assert "not a medical device" in (packaged_bundle() / "MODEL_CARD.md").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("name", MODEL_FILES)
def test_one_changed_byte_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name}.*sha256"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", [*MODEL_FILES, "manifest.json"])
def test_missing_files_are_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(bundle)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere"):
        Segmenter(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(schema=1), "expected schema 2 or 3, got 1: convert its checkpoint again"),
        (lambda values: values.update(context=-0.5), "context from 0 to 100, got -0.5"),
        (lambda values: values.update(context=float("nan")), "context from 0 to 100, got nan"),
        (lambda values: values.update(context="0.5"), "expected context to be a float"),
        (lambda values: values.update(ellipse=1e9), "ellipse from 0 to 100"),
        (lambda values: values.update(ellipse=None), "expected ellipse to be a float"),
        (lambda values: values.update(ellipse=True), "expected ellipse to be a float"),
        (
            lambda values: values.update(prompts=["box", "voice"]),
            r"expected prompts .'box'. or .'box', 'points', 'mask'., got .'box', 'voice'",
        ),
        (lambda values: values.update(prompts="box"), "expected prompts to be a list"),
        (lambda values: values.update(reach=-1), "expected reach from 0 to image_size, got -1"),
        (lambda values: values.update(reach="all"), "reach"),
        (lambda values: values.update(reach=True), "reach"),
        (lambda values: values.update(reach=10**40), "reach from 0 to image_size, got 1000"),
        (lambda values: values.pop("architecture"), "architecture"),
        (lambda values: values.update(image_size="256"), "image_size"),
        (lambda values: values.update(image_size=10**9), "image_size"),
        (lambda values: values.update(files=[]), "files"),
        (lambda values: values["files"].pop("encoder.xml"), r"encoder\.xml"),
        (lambda values: values.update(surprise=1), "surprise"),
        (lambda values: values.update(classes="CT"), "classes"),
        (lambda values: values.update(classes=["CT", "XX"]), "distinct modalities, got .'XX'"),
        (lambda values: values.update(classes=["CT", "MR", "CT"]), "distinct modalities, got .'CT', 'CT'"),
        (lambda values: values.update(classes=[["CT"]]), "distinct modalities"),
    ],
)
def test_bad_manifests_are_refused(bundle: Path, change: Callable[[Values], Any], message: str) -> None:
    rewrite(bundle, change)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle)


def test_a_bundle_of_schema_2_has_the_defaults_of_schema_3(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    before = Segmenter(bundle).segment(image, [(8, 8, 40, 30)])

    def older(values: Values) -> None:
        values["schema"] = 2
        for name in ("context", "ellipse", "prompts"):
            del values[name]

    rewrite(bundle, older)
    manifest = load_bundle(bundle).manifest
    assert (manifest.schema, manifest.reach, manifest.context, manifest.ellipse) == (3, 8, None, 0.0)
    assert manifest.prompts == ("box",)
    assert (Segmenter(bundle).segment(image, [(8, 8, 40, 30)]).label_map == before.label_map).all()


def test_classes_that_the_model_does_not_have_are_refused(bundle: Path) -> None:
    rewrite(bundle, lambda values: values.update(classes=["CT", "MR"]))
    with pytest.raises(BundleError, match=r"2 classes.*class_scores of encoder to be \(1, 2\), got None"):
        Segmenter(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\x00"])
def test_manifests_that_are_no_json_object_are_refused(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="manifest"):
        load_bundle(bundle)


def test_a_manifest_that_is_too_large_or_no_file_is_refused(bundle: Path) -> None:
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8") + " " * MAXIMUM_MANIFEST_BYTES)
    with pytest.raises(BundleError, match="larger than 1048576 bytes"):
        load_bundle(bundle)
    manifest.unlink()
    os.mkfifo(manifest)  # opening it would wait forever
    with pytest.raises(BundleError, match="is not a file"):
        load_bundle(bundle)
    with pytest.raises(BundleError, match="cannot read"):
        load_bundle(Path("a\0b"))


def test_a_long_list_of_classes_is_refused_at_once() -> None:
    """Counting every name in the whole list would take quadratic time."""
    values = json.loads((packaged_bundle() / "manifest.json").read_text(encoding="utf-8")) | {
        "classes": ["CT"] * 100_000
    }
    with pytest.raises(BundleError, match="distinct modalities"):
        parse_manifest(json.dumps(values).encode(), Path("x"))


def test_bundle_for_a_newer_openvino_is_refused(bundle: Path) -> None:
    rewrite(bundle, lambda values: values.update(openvino="2999.0.0"))
    with pytest.raises(BundleError, match=r"2999\.0\.0"):
        Segmenter(bundle)


def test_a_model_that_openvino_cannot_parse_is_refused(bundle: Path) -> None:
    import hashlib

    (bundle / "encoder.xml").write_text("<net/>")
    digest = hashlib.sha256(b"<net/>").hexdigest()
    rewrite(bundle, lambda values: values["files"].update({"encoder.xml": digest}))
    with pytest.raises(BundleError, match="OpenVINO"):
        Segmenter(bundle)


def test_unknown_device_is_refused() -> None:
    with pytest.raises(BundleError, match="NOSUCH"):
        Segmenter(device="NOSUCH")


def test_the_packaged_model_gives_the_same_bits_twice_near_its_box() -> None:
    """The same bits from two segmenters, and nothing positive far from the box."""
    image = np.zeros((200, 300), np.uint8)
    image[50:120, 80:180] = 200
    results = [Segmenter(num_threads=1).segment(image, [[80, 50, 180, 120]]) for _ in range(2)]
    assert (results[0].label_map == results[1].label_map).all()
    assert (results[0].scores == results[1].scores).all()
    assert results[0].mask(0)[60:110, 100:160].mean() > 0.9
    assert not results[0].mask(0)[170:].any()
