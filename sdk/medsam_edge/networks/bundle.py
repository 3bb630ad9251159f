"""The model bundle: a folder that is the whole contract between the converter and the sdk.

    encoder.xml, encoder.bin    image (1, 3, S, S) f32 in [0, 1] → embedding of any layout
    decoder.xml, decoder.bin    embedding, boxes (N, 4) f32 in network pixels, cells (N, K) i64: the wanted positions
                                of the embedding's S/4 × S/4 grid → logits (N, K, 4, 4), scores (N,)
                                A decoder with `context` reads these positions only: a window, row by row.
                                One whose `prompts` are box, points, mask also takes points (N, T, 2) f32 in network
                                pixels, the corners of the box among them; point_labels (N, T) i64: 1 object,
                                0 background, 2 and 3 the corners, -1 SAM's padding, which stands for a missing box,
                                whose `boxes` row is then zeros; prior (N, K, 4, 4) f32, logits of mask prompts in the
                                cells that it reads, or (N, 1, 4, 4) where none has one; has_prior (N,) f32, 1 or 0.
                                With C class prompts the encoder also returns class_scores (1, C), probabilities, and
                                the decoder also takes classes (1, C) f32, one-hot.
    manifest.json               see `Manifest`
    MODEL_CARD.md               for people

Files are read once, and hashes are checked before anything is parsed, so only checked bytes are parsed.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from medsam_edge.errors import BundleError
from medsam_edge.modality import Modality

SCHEMA = 3
SCHEMA_2 = {"context": None, "ellipse": 0.0, "prompts": ["box"]}
"""Fields that schema 3 adds, with the values that a bundle of schema 2 has."""
PROMPTS = ("box", "points", "mask")
"""Kinds of prompts: decoders take boxes alone, or all of them."""
MODEL_FILES = ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin")
MANIFEST_FILE = "manifest.json"
CARD_FILE = "MODEL_CARD.md"
MAXIMUM_FILE_BYTES = 2 * 1024**3
MAXIMUM_MANIFEST_BYTES = 1024**2
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "tuple[str, ...]": (list,),
}
"""What a field of `Manifest` is in JSON; an object where it is not named here."""


@dataclass(frozen=True)
class Manifest:
    """A bundle's description of itself."""

    architecture: str  # name of the network
    image_size: int  # side S of the network's input square, in pixels
    files: Mapping[str, str]  # sha256 of every model file, by name
    encoder_precision: str  # of the weights: `f32`, `f16` or `int8`
    decoder_precision: str
    reach: int  # network pixels beyond its box up to which a mask is decoded, 0 to image_size; not used with `context`
    openvino: str  # version that made the bundle; older versions are refused
    source_sha256: str  # of the checkpoint
    context: float | None = None  # `geometry.window_groups`: share of the box's extent on each side; None: whole grid
    ellipse: float = 0.0  # strength in logits of the inscribed ellipse that the decoder adds; 0 for none
    prompts: tuple[str, ...] = PROMPTS[:1]  # kinds that the decoder takes: box alone, or all of `PROMPTS`
    classes: tuple[str, ...] = ()  # modality of each class prompt, in the network's order; empty without class prompts
    calibration: Mapping[str, Any] = field(default_factory=dict)  # the quantizer's data
    checks: Mapping[str, Any] = field(default_factory=dict)  # result of each step of the conversion
    accuracy: Mapping[str, Any] = field(default_factory=dict)  # measured by the conversion; see the model card
    latency: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA  # version of this contract

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, its files in memory."""

    path: Path
    manifest: Manifest
    contents: Mapping[str, bytes]
    identity: str
    """sha256 of the manifest, which holds the hashes of all other files."""


def packaged_bundle() -> Path:
    """Return the folder of the bundle in the package."""
    return Path(__file__).parents[1] / "models" / "default"


def load_bundle(path: Path) -> Bundle:
    """Read and verify a bundle; BundleError if a file is missing, too large or differs from its hash, or is invalid."""
    raw = _read(path, MANIFEST_FILE, MAXIMUM_MANIFEST_BYTES)
    manifest = parse_manifest(raw, path)
    contents = {name: _read(path, name) for name in MODEL_FILES}
    for name, content in contents.items():
        if sha256(content) != manifest.files[name]:
            raise BundleError(f"bundle: {path / name} differs from its sha256 in the manifest")
    return Bundle(path, manifest, contents, sha256(raw))


def parse_manifest(raw: bytes, path: Path) -> Manifest:
    """Parse a manifest and check every field; `path` is the bundle's folder, for the messages of a BundleError."""
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"bundle: {path / MANIFEST_FILE} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected a JSON object, got {type(values).__name__}")
    schema = values.get("schema")
    if schema == 2:
        values = {**SCHEMA_2, **values, "schema": SCHEMA}
    elif schema != SCHEMA:
        raise BundleError(
            f"bundle: {path}: expected schema 2 or {SCHEMA}, got {schema!r}: convert its checkpoint again"
        )
    for item in fields(Manifest):
        expected = TYPES.get(str(item.type), (dict,))
        if type(values.get(item.name)) not in expected:  # isinstance would accept a bool as an int
            raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected {item.name} to be a {expected[0].__name__}")
    if unknown := sorted(set(values) - {item.name for item in fields(Manifest)}):
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: unknown fields {', '.join(unknown)}")
    if missing := [name for name in MODEL_FILES if not isinstance(values["files"].get(name), str)]:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: no sha256 of {', '.join(missing)}")
    if not 64 <= values["image_size"] <= 4096:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: image_size {values['image_size']} is out of range")
    if not 0 <= values["reach"] <= values["image_size"]:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected reach from 0 to image_size, got {values['reach']}")
    for name in ("context", "ellipse"):
        if not 0 <= (values[name] or 0) <= 100:  # NaN and infinity are no such numbers
            raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected {name} from 0 to 100, got {values[name]}")
    if values["prompts"] not in (["box"], list(PROMPTS)):
        raise BundleError(f"bundle: {path}: expected prompts ['box'] or {list(PROMPTS)}, got {values['prompts']}")
    classes = values["classes"][: len(Modality) + 1]  # a longer list still holds a duplicate or an unknown name here
    if invalid := [name for name in classes if name not in list(Modality) or classes.count(name) > 1]:
        raise BundleError(f"bundle: {path / MANIFEST_FILE}: expected classes to be distinct modalities, got {invalid}")
    return Manifest(**{**values, "classes": tuple(classes), "prompts": tuple(values["prompts"])})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, name: str, maximum: int = MAXIMUM_FILE_BYTES) -> bytes:
    file = path / name
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may have no end
            raise BundleError(f"bundle: {file} is not a file")
        if status.st_size > maximum:
            raise BundleError(f"bundle: {file} is larger than {maximum} bytes")
        return file.read_bytes()
    except (OSError, ValueError) as error:  # a null character in a path is a ValueError
        raise BundleError(f"bundle: cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
