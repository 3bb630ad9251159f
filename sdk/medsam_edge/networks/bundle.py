"""The model bundle: a folder that is the whole contract between the converter and the SDK.

    encoder.xml, encoder.bin    image (1, 3, S, S) f32 in [0, 1] → embedding, whatever its layout
    decoder.xml, decoder.bin    embedding, boxes (N, 4) f32 in network pixels, cells (N, K) i64, the positions of the
                                embedding's S/4 × S/4 grid that are wanted → logits (N, K, 4, 4), scores (N,)
                                with C class prompts the encoder also gives class_scores (1, C), probabilities,
                                and the decoder also takes classes (1, C) f32, one-hot
    manifest.json               see `Manifest`
    MODEL_CARD.md               for people

Every file's hash is checked before anything is parsed, and what was checked is what is parsed: files are read once.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from medsam_edge.errors import BundleError
from medsam_edge.modality import Modality

SCHEMA = 2
MODEL_FILES = ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin")
MANIFEST_FILE = "manifest.json"
CARD_FILE = "MODEL_CARD.md"
MAXIMUM_FILE_BYTES = 2 * 1024**3
MAXIMUM_MANIFEST_BYTES = 1024**2
DEFAULT_BUNDLE = "default"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself.

    Attributes:
        architecture: name of the network.
        image_size: side S of the network's input square, in pixels.
        files: sha256 of every model file, by name.
        encoder_precision, decoder_precision: `f32`, `f16` or `int8`.
        reach: how far beyond its box a mask may lie, in network pixels, at most image_size; nothing farther is decoded.
        openvino: the version it was made with; older ones are refused.
        source_sha256: of the checkpoint it was made from.
        classes: the modality of each class prompt, in the order of the network; empty for networks without.
        calibration: what the quantizer saw.
        checks: each step of the conversion with its number.
        accuracy, latency: as measured when it was made; see the model card.
        schema: version of this contract.
    """

    architecture: str
    image_size: int
    files: Mapping[str, str]
    encoder_precision: str
    decoder_precision: str
    reach: int
    openvino: str
    source_sha256: str
    classes: tuple[str, ...] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, its files in memory."""

    path: Path
    manifest: Manifest
    contents: Mapping[str, bytes]
    identity: str
    """sha256 over the manifest, which holds the hashes of all else."""


def packaged_bundle(name: str = DEFAULT_BUNDLE) -> Path:
    """Folder of a bundle that comes with the package."""
    return Path(str(resources.files("medsam_edge"))) / "models" / name


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: a file is missing, too large or not what the manifest says, or the manifest is not one we know.
    """
    raw = _read(path, MANIFEST_FILE, MAXIMUM_MANIFEST_BYTES)
    manifest = parse_manifest(raw, path)
    contents = {name: _read(path, name) for name in MODEL_FILES}
    for name, content in contents.items():
        if sha256(content) != manifest.files[name]:
            raise BundleError(f"bundle: {path / name} is not the file its manifest names (sha256 differs)")
    return Bundle(path, manifest, contents, sha256(raw))


def parse_manifest(raw: bytes, path: Path) -> Manifest:
    """The manifest's fields, checked for presence and type.

    Raises:
        BundleError: not JSON, another schema, or a field is missing, unknown or of the wrong type.
    """
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle: {path / MANIFEST_FILE} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected a JSON object, got {type(values).__name__}")
    if values.get("schema") != SCHEMA:
        raise BundleError(
            f"bundle: {path}: expected schema {SCHEMA}, got {values.get('schema')!r}: convert its checkpoint again"
        )
    for item in fields(Manifest):
        expected = {"str": str, "int": int, "tuple[str, ...]": list}.get(str(item.type), dict)
        if type(values.get(item.name)) is not expected:  # a bool is an int to isinstance
            raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected {item.name} to be a {expected.__name__}")
    unknown = sorted(set(values) - {item.name for item in fields(Manifest)})
    if unknown:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: unknown fields {', '.join(unknown)}")
    missing = [name for name in MODEL_FILES if not isinstance(values["files"].get(name), str)]
    if missing:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: no sha256 of {', '.join(missing)}")
    if not 64 <= values["image_size"] <= 4096:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: image_size {values['image_size']} is out of range")
    if not 0 <= values["reach"] <= values["image_size"]:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected reach from 0 to image_size, got {values['reach']}")
    classes = values["classes"][: len(Modality) + 1]  # one more has one twice, or a strange one
    strange = [name for name in classes if name not in list(Modality) or classes.count(name) > 1]
    if strange:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected classes to be distinct modalities, got {strange}")
    return Manifest(**{**values, "classes": tuple(classes)})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, name: str, maximum: int = MAXIMUM_FILE_BYTES) -> bytes:
    file = path / name
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may have no end
            raise BundleError(f"bundle: {file} is no file")
        if status.st_size > maximum:
            raise BundleError(f"bundle: {file} is larger than {maximum} bytes")
        return file.read_bytes()
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise BundleError(f"bundle: cannot read {file}: {reason}") from error
