"""The main path: load → fuse → export → parity → int8 → bundle → segment through the sdk.

Each step yields a number; one that is out of bounds stops the conversion, and nothing is left behind.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import nn

from medsam_edge import Segmenter
from medsam_edge.bundle import CARD_FILE, MANIFEST_FILE, MODEL_FILES, Manifest, sha256
from medsam_edge.errors import ConversionError, InputError
from medsam_edge.geometry import Geometry
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import Phantom, phantom
from medsam_edge_convert.export import export_decoder, export_encoder, halve_embedding
from medsam_edge_convert.quantize import CalibrationSet, calibration_set, quantize
from medsam_edge_train import checkpoint
from medsam_edge_train.models import TEACHER, MedSAM, fuse
from medsam_edge_train.models.class_prompt import ClassPromptMedSAM

IMAGE_SIZE = 256
FUSION_LIMIT = 1e-6
"""Largest difference of the fused embedding, as a share of its largest value, in double precision: fusing is
exact algebra, and a deep network of unusual weights can amplify the rounding of f32 to any size."""
FUSION_STRIDE = 4
"""Fusing is checked on every fourth pixel of the probes; the algebra does not depend on the resolution."""
PARITY_LIMIT = 1e-3
"""Likewise between PyTorch and OpenVINO in f32."""
AGREEMENT_LIMIT = 0.999
"""Share of mask pixels on which PyTorch and the f32 model must agree."""

PROBE_SEED = 7
PROBE_BOXES = 4

Report = Callable[[str], None]


@dataclass(frozen=True)
class ConvertConfig:
    """What to convert, and to what.

    Attributes:
        checkpoint: safetensors or any published layout.
        output: folder of the bundle; must not exist yet unless `overwrite`.
        precision: `f32`; or `int8`: int8 encoder, half-precision decoder weights and embedding.
        calibration: folder of images, or `phantoms`; needed for int8.
        architecture: name of the network where the checkpoint does not say; None to recognise it.
    """

    checkpoint: Path
    output: Path
    precision: str = "int8"
    calibration: str | None = None
    architecture: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.precision not in ("f32", "int8"):
            raise InputError(f"precision: expected 'f32' or 'int8', got {self.precision!r}")
        if self.precision == "int8" and self.calibration is None:
            raise InputError("calibration: int8 needs a folder of images, or 'phantoms'")
        if self.output.exists() and not self.overwrite:
            raise InputError(f"output: {self.output} exists already")


def convert(config: ConvertConfig, report: Report = lambda line: None) -> Manifest:
    """Convert a checkpoint to a bundle.

    Args:
        report: told each step and its number.

    Raises:
        CheckpointError: the checkpoint cannot be read or does not match.
        ConversionError: a step changed the network more than it may.
        InputError: a network that cannot be converted yet: class prompts, the teacher.
    """
    network, architecture = checkpoint.load(config.checkpoint, config.architecture)
    if isinstance(network, ClassPromptMedSAM) or architecture == TEACHER:
        raise InputError(f"architecture: {architecture} cannot be converted yet")
    report(f"load      {architecture}, {sum(p.numel() for p in network.parameters()):,} parameters")
    probes = [make_probe(modality) for modality in (Modality.CT, Modality.DERMOSCOPY, Modality.MICROSCOPY)]
    checks: dict[str, float] = {}

    exact = copy.deepcopy(network).double()
    fused = cast(MedSAM, fuse(copy.deepcopy(exact)))
    checks["fusion_max_difference"] = check_fusion(exact, fused, probes)
    report(f"fuse      max difference {checks['fusion_max_difference']:.1e} of the largest value")
    fused = fused.float()

    encoder, decoder = export_encoder(fused, IMAGE_SIZE), export_decoder(fused, IMAGE_SIZE)
    checks |= check_parity(fused, encoder, decoder, probes)
    report(
        f"export    max difference {checks['parity_max_difference']:.1e}, "
        f"{checks['parity_mask_agreement']:.4%} of mask pixels equal"
    )

    calibration = CalibrationSet("none", [])
    if config.precision == "int8":
        calibration = calibration_set(str(config.calibration), IMAGE_SIZE)
        report(f"quantize  calibrating on {calibration.source}")
        encoder, decoder = halve_embedding(quantize(encoder, calibration), decoder)

    manifest = _bundle(config, architecture, encoder, decoder, calibration.source, checks, fused, probes)
    report(
        f"bundle    {config.output}, {_megabytes(config.output):.1f} MB; masks as PyTorch's on "
        f"{manifest.checks['bundle_mask_agreement']:.4%} of pixels"
    )
    return manifest


@dataclass(frozen=True, eq=False)
class Probe:
    """A phantom as the sdk hands it to the network, with a few boxes."""

    phantom: Phantom
    geometry: Geometry
    image: torch.Tensor  # (1, 3, S, S)
    boxes: npt.NDArray[np.float32]  # (N, 4) in image pixels
    prompts: npt.NDArray[np.float32]  # (N, 4) in network pixels


def make_probe(modality: Modality) -> Probe:
    source = phantom(modality, seed=PROBE_SEED)
    geometry = Geometry.of(source.labels.shape, IMAGE_SIZE)
    image = torch.from_numpy(geometry.image_to_network(to_display(source.image, modality)))[None]
    boxes = source.boxes[:PROBE_BOXES]
    return Probe(source, geometry, image, boxes, geometry.boxes_to_network(boxes))


def check_fusion(network: MedSAM, fused: MedSAM, probes: list[Probe]) -> float:
    """Largest difference of the embeddings before and after, over the largest value. Both networks in double precision.

    Raises:
        ConversionError: above `FUSION_LIMIT`, or a batch norm is left.
    """
    left = [name for name, part in fused.named_modules() if isinstance(part, nn.BatchNorm2d)]
    if left:
        raise ConversionError(f"fuse: batch norms are left: {', '.join(left)}")
    images = [probe.image[:, :, ::FUSION_STRIDE, ::FUSION_STRIDE].double() for probe in probes]
    with torch.inference_mode():
        difference = max(relative_difference(network.embed(image), fused.embed(image)) for image in images)
    if not difference <= FUSION_LIMIT:
        raise ConversionError(f"fuse: expected a difference of at most {FUSION_LIMIT}, got {difference:.2e}")
    return difference


def check_parity(network: MedSAM, encoder: ov.Model, decoder: ov.Model, probes: list[Probe]) -> dict[str, float]:
    """Compare PyTorch with the exported f32 model on whole images.

    Raises:
        ConversionError: the embedding differs by more than `PARITY_LIMIT`, or masks agree on less than
            `AGREEMENT_LIMIT`.
    """
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    run_encoder = ov.compile_model(encoder, "CPU", config)
    run_decoder = ov.compile_model(decoder, "CPU", config)
    differences, agreements = [], []
    for probe in probes:
        with torch.inference_mode():
            expected = network.embed(probe.image)
            logits, _ = network.decode(expected, torch.from_numpy(probe.prompts))
        got = run_encoder({"image": probe.image.numpy()})["embedding"]
        differences.append(relative_difference(expected, torch.from_numpy(got)))
        masks = run_decoder({"embedding": got, "boxes": probe.prompts})["logits"] > 0
        agreements.append(float((masks == (logits.numpy() > 0)).mean()))
    checks = {"parity_max_difference": max(differences), "parity_mask_agreement": min(agreements)}
    if not (max(differences) <= PARITY_LIMIT and min(agreements) >= AGREEMENT_LIMIT):
        raise ConversionError(f"export: OpenVINO differs from PyTorch: {checks}")
    return checks


def check_bundle(bundle: Path, network: MedSAM, probes: list[Probe]) -> float:
    """Smallest share of image pixels on which the sdk's masks equal PyTorch's."""
    segmenter = Segmenter(bundle)
    agreements = []
    for probe in probes:
        result = segmenter.segment(probe.phantom.image, probe.boxes, probe.phantom.modality)
        with torch.inference_mode():
            logits, _ = network.decode(network.embed(probe.image), torch.from_numpy(probe.prompts))
        for index, plane in enumerate(logits.numpy()):
            expected = np.zeros(probe.phantom.labels.shape, dtype=bool)
            top, left, mask = probe.geometry.mask_to_image(plane)
            expected[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
            agreements.append(float((result.mask(index) == expected).mean()))
    return min(agreements)


def relative_difference(expected: torch.Tensor, got: torch.Tensor) -> float:
    """Largest difference over the largest value."""
    return float((expected - got).abs().max() / expected.abs().max())


def _bundle(
    config: ConvertConfig,
    architecture: str,
    encoder: ov.Model,
    decoder: ov.Model,
    calibration: str,
    checks: dict[str, float],
    network: MedSAM,
    probes: list[Probe],
) -> Manifest:
    """Write the bundle beside its place, segment with it, and only then move it there."""
    config.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=config.output.parent, prefix=".bundle-") as folder:
        partial = Path(folder) / "bundle"
        partial.mkdir()
        half = config.precision == "int8"
        ov.save_model(encoder, partial / "encoder.xml", compress_to_fp16=half)
        ov.save_model(decoder, partial / "decoder.xml", compress_to_fp16=half)
        values: dict[str, Any] = {
            "architecture": architecture,
            "image_size": IMAGE_SIZE,
            "files": {name: sha256((partial / name).read_bytes()) for name in MODEL_FILES},
            "encoder_precision": config.precision,
            "decoder_precision": "f16" if half else "f32",
            "openvino": ".".join(ov.__version__.split("-")[0].split(".")[:2]) + ".0",
            "source_sha256": sha256(config.checkpoint.read_bytes()),
            "calibration": {"images": calibration},
        }
        (partial / MANIFEST_FILE).write_text(Manifest(**values, checks=checks).to_json(), encoding="utf-8")
        checks["bundle_mask_agreement"] = check_bundle(partial, network, probes)
        if not half and checks["bundle_mask_agreement"] < AGREEMENT_LIMIT:
            raise ConversionError(
                f"bundle: masks agree with PyTorch on {checks['bundle_mask_agreement']:.4%} of pixels"
            )
        manifest = Manifest(**values, checks=checks)
        (partial / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        (partial / CARD_FILE).write_text(_card(manifest), encoding="utf-8")
        if config.output.exists():
            shutil.rmtree(config.output)
        partial.rename(config.output)
    return manifest


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def _card(manifest: Manifest) -> str:
    checks = "\n".join(f"- {name}: {value:.6g}" for name, value in manifest.checks.items())
    return (
        f"# {manifest.architecture}, {manifest.encoder_precision}\n\n"
        f"Made by `medsam-edge convert` from the checkpoint with sha256 `{manifest.source_sha256}`.\n"
        f"Calibration: {manifest.calibration['images']}. Its accuracy has not been measured: "
        "`medsam-edge bench accuracy` does.\n\n"
        f"Checks of the conversion:\n\n{checks}\n\nNot a medical device.\n"
    )
