"""The main path: load → fuse → reparameterize → export → parity → int8 → bundle → segment through the sdk.

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
from medsam_edge.model import Arrays
from medsam_edge.phantom import Phantom, phantom
from medsam_edge_convert.export import classes_of, export_decoder, export_encoder, halve_embedding
from medsam_edge_convert.quantize import CalibrationSet, calibration_set, quantize
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.models import TEACHER, MedSAM, fuse

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
        precision: `f32`, where trained quantizers are left out; or `int8`: int8 encoder, half-precision decoder weights
            and embedding.
        calibration: folder of images, or `phantoms`; needed for int8 unless the checkpoint has trained quantizers.
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
        if self.output.exists() and not self.overwrite:
            raise InputError(f"output: {self.output} exists already")


def convert(config: ConvertConfig, report: Report = lambda line: None) -> Manifest:
    """Convert a checkpoint to a bundle.

    Args:
        report: told each step and its number.

    Raises:
        CheckpointError: the checkpoint cannot be read or does not match.
        ConversionError: a step changed the network more than it may.
        InputError: the teacher, which is not converted; int8 without calibration or trained quantizers.
    """
    network, architecture = checkpoint.load(config.checkpoint, config.architecture)
    if architecture == TEACHER:
        raise InputError(f"architecture: {TEACHER} is only ever a teacher and is not converted")
    trained, network.quantizers = network.quantizers, None  # first the floating-point network is checked
    if config.precision == "int8" and trained is None and config.calibration is None:
        raise InputError("calibration: int8 needs a folder of images, or 'phantoms'")
    report(f"load      {architecture}, {sum(p.numel() for p in network.parameters()):,} parameters")
    probes = [make_probe(modality) for modality in (Modality.CT, Modality.DERMOSCOPY, Modality.MICROSCOPY)]
    checks: dict[str, float] = {}

    exact = copy.deepcopy(network).double()
    fused = cast(MedSAM, fuse(copy.deepcopy(exact)))
    checks["fusion_max_difference"] = check_fusion(exact, fused, probes)
    report(f"fuse      max difference {checks['fusion_max_difference']:.1e} of the largest value")
    checks["decoder_max_difference"] = check_decoder(exact, probes)
    report(f"decoder   re-parameterized, max difference {checks['decoder_max_difference']:.1e} of the largest logit")
    fused = fused.float().reparameterize()

    encoder, decoder = export_encoder(fused, IMAGE_SIZE), export_decoder(fused, IMAGE_SIZE)
    checks |= check_parity(fused, encoder, decoder, probes)
    report(
        f"export    max difference {checks['parity_max_difference']:.1e}, "
        f"{checks['parity_mask_agreement']:.4%} of mask pixels equal"
    )

    calibration = CalibrationSet("none", [])
    if config.precision == "int8" and trained is not None:
        calibration = CalibrationSet("in quantization-aware training", [])
        report("quantize  as trained, no calibration needed")
        fused.quantizers = trained
        encoder, decoder = halve_embedding(export_encoder(fused, IMAGE_SIZE), decoder)
    elif config.precision == "int8":
        calibration = calibration_set(str(config.calibration), IMAGE_SIZE)
        report(f"quantize  calibrating on {calibration.source}")
        encoder, decoder = halve_embedding(quantize(encoder, calibration), decoder)

    manifest = _bundle(config, architecture, encoder, decoder, calibration.source, checks, fused, probes)
    report(
        f"bundle    {config.output}, {_megabytes(config.output):.1f} MB; masks as PyTorch's on "
        f"{manifest.checks['bundle_mask_agreement']:.4%} of pixels"
    )
    if manifest.classes:
        report(f"classes   probabilities as PyTorch's within {manifest.checks['bundle_class_difference']:.1e}")
    return manifest


@dataclass(frozen=True, eq=False)
class Probe:
    """A phantom as the sdk hands it to the network, with a few boxes."""

    phantom: Phantom
    image: npt.NDArray[np.float32]  # (1, 3, S, S)
    boxes: npt.NDArray[np.float32]  # (N, 4) in image pixels
    prompts: npt.NDArray[np.float32]  # (N, 4) in network pixels


def make_probe(modality: Modality) -> Probe:
    source = phantom(modality, seed=PROBE_SEED)
    geometry = Geometry.of(source.labels.shape, IMAGE_SIZE)
    image = geometry.image_to_network(to_display(source.image, modality))[None]
    boxes = source.boxes[:PROBE_BOXES]
    return Probe(source, image, boxes, geometry.boxes_to_network(boxes))


def check_fusion(network: MedSAM, fused: MedSAM, probes: list[Probe]) -> float:
    """Largest difference of the embeddings before and after, over the largest value. Both networks in double precision.

    Raises:
        ConversionError: above `FUSION_LIMIT`, or a batch norm is left.
    """
    left = [name for name, part in fused.named_modules() if isinstance(part, nn.BatchNorm2d)]
    if left:
        raise ConversionError(f"fuse: batch norms are left: {', '.join(left)}")
    differences = []
    for probe in probes:
        image = torch.from_numpy(probe.image[:, :, ::FUSION_STRIDE, ::FUSION_STRIDE]).double()
        with torch.inference_mode():
            differences.append(relative_difference(network.embed(image).numpy(), fused.embed(image).numpy()))
    difference = float(np.max(differences))
    if not difference <= FUSION_LIMIT:
        raise ConversionError(f"fuse: expected a difference of at most {FUSION_LIMIT}, got {difference:.2e}")
    return difference


def check_decoder(network: MedSAM, probes: list[Probe]) -> float:
    """Largest difference of the logits as published and re-parameterized, over the largest. In double precision.

    Raises:
        ConversionError: above `FUSION_LIMIT`.
    """
    cheap = copy.deepcopy(network).reparameterize()
    differences = []
    for probe in probes:
        image = torch.from_numpy(probe.image[:, :, ::FUSION_STRIDE, ::FUSION_STRIDE]).double()
        with torch.inference_mode():
            rows = network.embed(image)
            expected, got = (
                part.decode(rows, torch.from_numpy(probe.prompts).double())[0] for part in (network, cheap)
            )
        differences.append(relative_difference(expected.numpy(), got.numpy()))
    difference = float(np.max(differences))
    if not difference <= FUSION_LIMIT:
        raise ConversionError(f"decoder: expected a difference of at most {FUSION_LIMIT}, got {difference:.2e}")
    return difference


def check_parity(network: MedSAM, encoder: ov.Model, decoder: ov.Model, probes: list[Probe]) -> dict[str, float]:
    """Compare PyTorch with the exported f32 model on whole images; class prompts with the class told and the likeliest.

    Raises:
        ConversionError: an output of the encoder differs by more than `PARITY_LIMIT`, or masks agree on less than
            `AGREEMENT_LIMIT`.
    """
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    run_encoder = ov.compile_model(encoder, "CPU", config)
    run_decoder = ov.compile_model(decoder, "CPU", config)
    reference = torch_model(network, IMAGE_SIZE, "PyTorch")
    differences, agreements = [], []
    for probe in probes:
        expected, got = reference.encoder.infer({"image": probe.image}), run_encoder({"image": probe.image})
        differences += [relative_difference(value, got[name]) for name, value in expected.items()]
        prompts: list[Arrays] = [{}]
        if reference.classes:
            likeliest = reference.classes[int(got["class_scores"].argmax())]
            prompts = [{"classes": reference.one_hot(modality)} for modality in (probe.phantom.modality, likeliest)]
        for prompt in prompts:
            inputs = {"boxes": probe.prompts, **prompt}
            logits = reference.decoder.infer({"embedding": expected["embedding"], **inputs})["logits"]
            masks = run_decoder({"embedding": got["embedding"], **inputs})["logits"] > 0
            agreements.append(float((masks == (logits > 0)).mean()))
    difference, agreement = float(np.max(differences)), min(agreements)
    checks = {"parity_max_difference": difference, "parity_mask_agreement": agreement}
    if not (difference <= PARITY_LIMIT and agreement >= AGREEMENT_LIMIT):
        raise ConversionError(f"export: OpenVINO differs from PyTorch: {checks}")
    return checks


def check_bundle(bundle: Path, network: MedSAM, probes: list[Probe]) -> dict[str, float]:
    """Segment with the bundle and with PyTorch, both through the sdk, the modality told.

    Returns:
        `bundle_mask_agreement`, the smallest share of image pixels on which a mask is the same; with class prompts also
        `bundle_class_difference`, the largest difference of a class's probability.
    """
    segmenters = Segmenter(bundle), Segmenter(torch_model(network, IMAGE_SIZE, "PyTorch"))
    agreements, differences = [], []
    for probe in probes:
        ours, reference = (segmenter.embed(probe.phantom.image, probe.phantom.modality) for segmenter in segmenters)
        differences += [abs(score - reference.class_scores[name]) for name, score in ours.class_scores.items()]
        got, expected = segmenters[0].decode(ours, probe.boxes), segmenters[1].decode(reference, probe.boxes)
        agreements += [float((got.mask(index) == expected.mask(index)).mean()) for index in range(len(got))]
    checks = {"bundle_mask_agreement": min(agreements)}
    return checks | {"bundle_class_difference": max(differences)} if differences else checks


def relative_difference(expected: npt.NDArray[Any], got: npt.NDArray[Any]) -> float:
    """Largest difference over the largest value."""
    return float(np.abs(expected - got).max() / np.abs(expected).max())


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
            "classes": classes_of(network),
            "calibration": {"images": calibration},
        }
        (partial / MANIFEST_FILE).write_text(Manifest(**values, checks=checks).to_json(), encoding="utf-8")
        checks |= check_bundle(partial, network, probes)
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
