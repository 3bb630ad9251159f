"""The main path: load → fuse → re-parameterize → export → parity → quantize → bundle → segment with it → accuracy.

Each step yields a number; one that is out of bounds stops the conversion, and nothing is left behind but the report.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import openvino as ov
from torch import nn

from medsam_edge import Segmenter
from medsam_edge.errors import ConversionError, InputError
from medsam_edge.modality import Modality
from medsam_edge.networks.bundle import CARD_FILE, MANIFEST_FILE, MODEL_FILES, PROMPTS, Manifest, load_bundle, sha256
from medsam_edge_convert.checks import (
    AGREEMENT_LIMIT,
    ALGEBRA_LIMIT,
    IMAGE_SIZE,
    PARITY_LIMIT,
    Probe,
    check_bundle,
    check_decoder,
    check_fusion,
    check_parity,
    make_probe,
)
from medsam_edge_convert.export import classes_of, export_decoder, export_encoder, halve_embedding
from medsam_edge_convert.gate import EXACT, FINAL, TORCH, Gate, check_accuracy, draw_worst, measure_accuracy
from medsam_edge_convert.ovms import write_repository
from medsam_edge_convert.quantize import CalibrationSet, calibration_set, quantize, quantize_with_control
from medsam_edge_convert.report import ConversionReport, Step, write_report
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.models import TEACHER, MedSAM, fuse
from medsam_edge_train.options import FLAT, Output

Precision = Literal["int8", "mixed", "f16", "f32"]
Layout = Literal["bundle", "ovms"]


@dataclass(frozen=True)
class ConvertConfig:
    """What to convert, and to what.

    Attributes:
        checkpoint: safetensors or any published layout; with the layout `ovms` also a bundle, which is copied.
        output: folder of the bundle; must not exist yet, or be a bundle and `overwrite` set.
        precision: `f32`; `f16`: weights and embedding in half precision, computed as the machine prefers; `int8`: that,
            and an int8 encoder; `mixed`: int8 but for the layers that cost the most accuracy, until the gate holds.
            Trained quantizers are used by int8 and left out by the others.
        calibration: folder of images, shards, or `phantoms`; needed for mixed, and for int8 unless the checkpoint has
            trained quantizers.
        ellipse: strength of the ellipse added to the logits, in place of the checkpoint's own; 4 to 8 help networks on
            images unlike those they were trained on. With a mask prompt and no click, 4 at most.
        prompts: `trained`: those that the network was trained to take; `all`: clicks and masks in any case.
        architecture: name of the network where the checkpoint does not say; recognised from the tensors if not given.
        gate: what accuracy is measured on and may be lost; None not to measure. Needed for mixed.
        report: `.html`, with the worst cases, or `.json` file to write, also when a step fails.
        overwrite: replace an existing bundle.
        layout: `bundle`, what the sdk reads; `ovms`: its networks as OpenVINO Model Server reads them.
    """

    checkpoint: Path
    _: KW_ONLY
    output: Output
    precision: Precision = "int8"
    calibration: str | None = None
    ellipse: float | None = None
    prompts: Literal["trained", "all"] = "trained"
    architecture: str | None = None
    gate: Annotated[Gate | None, FLAT] = None
    report: Path | None = None
    overwrite: bool = False
    layout: Layout = "bundle"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise InputError(f"precision: expected one of {', '.join(get_args(Precision))}, got {self.precision!r}")
        if self.layout not in get_args(Layout):
            raise InputError(f"layout: expected one of {', '.join(get_args(Layout))}, got {self.layout!r}")
        if self.precision == "mixed" and self.gate is None:
            raise InputError("validation: mixed needs a folder of images with masks, to find what int8 costs")
        if self.ellipse is not None and not 0 <= self.ellipse <= 100:
            raise InputError(f"ellipse: expected 0 to 100, got {self.ellipse}")
        if self.output.exists() and not self.overwrite:
            raise InputError(f"output: {self.output} exists already")
        if self.output.exists() and not (self.output / MANIFEST_FILE).is_file():
            raise InputError(f"output: {self.output} is no bundle and is not replaced by one")
        if self.report and self.report.suffix not in (".html", ".json"):
            raise InputError(f"report: expected a file .html or .json, got {self.report}")
        if self.report and self.output.resolve() in (self.report.resolve(), *self.report.resolve().parents):
            raise InputError(f"report: expected a file outside the bundle, got {self.report}")


def convert(config: ConvertConfig, listen: Callable[[Step], None] = lambda step: None) -> Manifest:
    """Convert a checkpoint to a bundle.

    Args:
        listen: told each step and its number.

    Raises:
        CheckpointError: the checkpoint cannot be read or does not match.
        ConversionError: a step changed the network more than it may, or the gate found too much accuracy lost.
        InputError: the teacher, which is not converted; no calibration where it is needed.
    """
    report = ConversionReport(config.checkpoint.name, config.precision, listen)
    try:
        return _convert(config, report)
    except BaseException as error:
        report.failed = str(error) or type(error).__name__
        raise
    finally:
        if config.report:
            write_report(config.report, report)


def check_inputs(config: ConvertConfig) -> str:
    """What `convert` would do, in a few lines; nothing is written. Raises what it would raise of what goes in."""
    if _is_bundle(config):
        architecture = load_bundle(config.checkpoint).manifest.architecture
        return f"bundle       {config.checkpoint}, {architecture}\noutput       {config.output}"
    network, architecture, quantizers, calibration = _inputs(config)
    images = calibration.source if calibration else "in quantization-aware training" if quantizers else "none"
    measured = f"{len(config.gate.cases())} images of {config.gate.data}" if config.gate else "not measured"
    return "\n".join(
        [
            f"network      {architecture}, {sum(p.numel() for p in network.parameters()):,} parameters",
            f"precision    {config.precision}",
            f"calibration  {images}",
            f"accuracy     {measured}",
            f"output       {config.output}",
        ]
    )


def _is_bundle(config: ConvertConfig) -> bool:
    """Whether a bundle is only laid out anew."""
    return config.layout == "ovms" and (config.checkpoint / MANIFEST_FILE).is_file()


def _inputs(config: ConvertConfig) -> tuple[MedSAM, str, nn.Module | None, CalibrationSet | None]:
    """The network in floating point, its architecture, its trained quantizers, and the images to calibrate on."""
    network, architecture = checkpoint.load(config.checkpoint, config.architecture)
    if architecture == TEACHER:
        raise InputError(f"architecture: {TEACHER} is only ever a teacher and is not converted")
    if config.ellipse is not None:
        network.mask_decoder.ellipse = config.ellipse
    if config.prompts == "all":
        network.prompt_kinds = PROMPTS
    quantizers, network.quantizers = network.quantizers, None  # first the floating-point network is checked
    needed = config.precision == "mixed" or (config.precision == "int8" and quantizers is None)
    if needed and config.calibration is None:
        raise InputError(f"calibration: {config.precision} needs a folder of images, or 'phantoms'")
    calibration = calibration_set(str(config.calibration), IMAGE_SIZE) if needed else None
    if config.gate:
        config.gate.cases()  # a wrong folder is said now, and not after minutes
    return network, architecture, quantizers, calibration


def _convert(config: ConvertConfig, report: ConversionReport) -> Manifest:
    if _is_bundle(config):
        bundle = load_bundle(config.checkpoint)
        with _beside(config.output) as folder:
            _place(config, folder, config.checkpoint, report)
        return bundle.manifest
    network, architecture, quantizers, calibration = _inputs(config)
    report.add("load", f"{architecture}, {sum(p.numel() for p in network.parameters()):,} parameters")
    probes = [make_probe(modality) for modality in (Modality.CT, Modality.DERMOSCOPY, Modality.MICROSCOPY)]

    exact = copy.deepcopy(network).double()
    fused = cast(MedSAM, fuse(copy.deepcopy(exact)))
    difference = check_fusion(exact, fused, probes)
    report.add("fuse", "max difference of the embedding, of its largest value", difference, ALGEBRA_LIMIT)
    difference = check_decoder(fused, probes)
    report.add("decoder", "re-parameterized; max difference of logits or scores", difference, ALGEBRA_LIMIT)
    fused = fused.float().reparameterize()

    encoder, decoder = export_encoder(fused, IMAGE_SIZE), export_decoder(fused, IMAGE_SIZE)
    parity = check_parity(fused, encoder, decoder, probes)
    report.add("export", "max difference of OpenVINO f32 to PyTorch", parity.difference, PARITY_LIMIT)
    report.add("masks", "share of mask pixels unlike PyTorch's", 1 - parity.agreement, 1 - AGREEMENT_LIMIT)
    where = "anywhere" if parity.reach == IMAGE_SIZE else f"within {parity.reach} pixels of its box"
    report.add("reach", f"a mask lies {where if fused.context is None else 'in the window around its box'}")

    made = Converted(architecture, fused, encoder, decoder, probes, parity.reach, quantizers, calibration)
    with _beside(config.output) as folder:
        return _bundle(config, folder, report, made)


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A folder on the same disk as the output, deleted at the end."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".bundle-") as folder:
        yield Path(folder)


@dataclass(frozen=True, eq=False)
class Converted:
    """A network that has passed the checks: in PyTorch, fused, and in OpenVINO f32; and what int8 is made with."""

    architecture: str
    network: MedSAM
    encoder: ov.Model
    decoder: ov.Model
    probes: list[Probe]
    reach: int
    quantizers: nn.Module | None
    calibration: CalibrationSet | None


def _bundle(config: ConvertConfig, folder: Path, report: ConversionReport, made: Converted) -> Manifest:
    """Write the bundle beside its place, segment and measure with it, and only then move it there."""
    plain = Manifest(
        architecture=made.architecture,
        image_size=IMAGE_SIZE,
        files={},
        encoder_precision="f32",
        decoder_precision="f32",
        reach=made.reach,
        openvino=".".join(ov.__version__.split("-")[0].split(".")[:2]) + ".0",
        source_sha256=sha256(config.checkpoint.read_bytes()),
        context=made.network.context,
        ellipse=made.network.mask_decoder.ellipse,
        prompts=made.network.prompt_kinds,
        classes=classes_of(made.network),
        calibration={"images": "none"},
    )
    segmenters = {TORCH: Segmenter(replace(torch_model(made.network, IMAGE_SIZE, TORCH), reach=plain.reach))}
    if config.gate or config.precision == "f32":
        write_bundle(folder / "f32", made.encoder, made.decoder, plain)
        segmenters[EXACT] = Segmenter(folder / "f32", cache_bytes=0)
    final, manifest = folder / "f32", plain
    if config.precision != "f32":
        encoder, calibration = _quantized(config, report, made, segmenters)
        manifest = replace(
            plain, encoder_precision=config.precision, decoder_precision="f16", calibration={"images": calibration}
        )
        final = folder / "bundle"
        write_bundle(final, *halve_embedding(encoder, made.decoder), manifest)
    _compare(final, made, exactly=config.precision == "f32", report=report)
    if config.gate:
        segmenters[FINAL] = Segmenter(final, cache_bytes=0)
        _gate(config.gate, config.report, report, segmenters)
    measured = {"dsc_percent": report.accuracy.dsc, "nsd_percent": report.accuracy.nsd} if report.accuracy else {}
    manifest = replace(_with_hashes(final, manifest), checks=report.checks, accuracy=measured)
    (final / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    (final / CARD_FILE).write_text(report.card(manifest), encoding="utf-8")
    _place(config, folder, final, report)
    return manifest


def _place(config: ConvertConfig, folder: Path, final: Path, report: ConversionReport) -> None:
    """Move a bundle to the output, in the layout wanted."""
    if config.layout == "ovms":
        write_repository(final, folder / "repository")
        final = folder / "repository"
    if config.output.exists():
        config.output.rename(folder / "replaced")  # which goes with its folder
    final.rename(config.output)
    megabytes = sum(file.stat().st_size for file in config.output.rglob("*") if file.is_file()) / 1e6
    report.add("done", f"{config.output}, {megabytes:.1f} MB")


def _compare(bundle: Path, made: Converted, exactly: bool, report: ConversionReport) -> None:
    """The bundle, loaded by the sdk as a user will, with PyTorch."""
    checks = check_bundle(bundle, made.network, made.probes)
    agreement = checks["bundle_mask_agreement"]
    limit = 1 - AGREEMENT_LIMIT if exactly else None
    report.add("bundle", "share of mask pixels unlike PyTorch's", 1 - agreement, limit)
    if exactly and agreement < AGREEMENT_LIMIT:
        raise ConversionError(f"bundle: masks agree with PyTorch on {agreement:.4%} of pixels")
    if "bundle_class_difference" in checks:
        report.add("classes", "max difference of a probability to PyTorch's", checks["bundle_class_difference"])


def _quantized(
    config: ConvertConfig, report: ConversionReport, made: Converted, segmenters: dict[str, Segmenter]
) -> tuple[ov.Model, str]:
    """The encoder in the precision wanted, and what calibrated it."""
    if config.precision == "int8" and made.quantizers is not None:
        report.add("quantize", "as trained, no calibration needed")
        network = copy.deepcopy(made.network)
        network.quantizers = made.quantizers
        return export_encoder(network, IMAGE_SIZE), "in quantization-aware training"
    calibration = made.calibration
    if calibration is None:
        return made.encoder, "none"
    report.add("quantize", f"calibrating on {calibration.source}")
    if config.precision == "mixed" and config.gate is not None:
        encoder = quantize_with_control(made.encoder, calibration, segmenters[EXACT].model, config.gate)
    else:
        encoder = quantize(made.encoder, calibration)
    return encoder, calibration.source


def _gate(gate: Gate, page: Path | None, report: ConversionReport, segmenters: dict[str, Segmenter]) -> None:
    """Measure accuracy and raise ConversionError if the bundle lost too much, with the figures in the report."""
    report.accuracy = accuracy = measure_accuracy(segmenters, gate)
    report.pictures = draw_worst(segmenters, accuracy) if page and page.suffix == ".html" else []
    worst = max((name for name in accuracy.drops if name != "mean"), key=lambda name: accuracy.drops[name])
    report.add("accuracy", "points of mean DSC lost to PyTorch", accuracy.drops["mean"], gate.max_drop)
    report.add("modality", f"points of DSC lost in {worst}", accuracy.drops[worst], gate.max_modality_drop)
    check_accuracy(accuracy, gate)


def write_bundle(folder: Path, encoder: ov.Model, decoder: ov.Model, manifest: Manifest) -> None:
    """The models and a manifest that names them, to be loaded for the last checks."""
    folder.mkdir()
    half = manifest.encoder_precision != "f32"
    ov.save_model(encoder, folder / "encoder.xml", compress_to_fp16=half)
    ov.save_model(decoder, folder / "decoder.xml", compress_to_fp16=half)
    (folder / MANIFEST_FILE).write_text(_with_hashes(folder, manifest).to_json(), encoding="utf-8")


def _with_hashes(folder: Path, manifest: Manifest) -> Manifest:
    return replace(manifest, files={name: sha256((folder / name).read_bytes()) for name in MODEL_FILES})
