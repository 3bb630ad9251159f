"""`medsam-edge bench accuracy`: its options, what is measured, and where the figures go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from medsam_edge import Segmenter
from medsam_edge.errors import ImageError, InputError
from medsam_edge.modality import Modality
from medsam_edge.networks.model import Model
from medsam_edge.settings import AxisName, Clean, Detail, Options
from medsam_edge.writing.picture import check_picture_suffix, write_picture
from medsam_edge_benchmarks.accuracy.figures.charts import write_pareto
from medsam_edge_benchmarks.accuracy.figures.sheets import Worst, draw_examples
from medsam_edge_benchmarks.accuracy.inputs.items import Cut, choose, find_items, mosaics
from medsam_edge_benchmarks.accuracy.output import text
from medsam_edge_benchmarks.accuracy.output.files import write_accuracy_page, write_csv
from medsam_edge_benchmarks.accuracy.scoring.measure import Row, Telling, measure_item
from medsam_edge_benchmarks.accuracy.scoring.methods import GRABCUT, Ellipse, GrabCut, Method, Network, PerSlice
from medsam_edge_benchmarks.accuracy.scoring.report import AccuracyReport, summarize
from medsam_edge_benchmarks.report.output import SuiteConfig, console, write_json
from medsam_edge_convert.accuracy import ELLIPSE
from medsam_edge_convert.checks import IMAGE_SIZE
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.models import TEACHER
from medsam_edge_train.progress import show_progress

PACKAGED, TORCH = "packaged", "torch"
CACHE_BYTES = 512 * 1024**2
"""For each network, detail and image: jitters and slices come back to the same pixels."""


@dataclass(frozen=True, kw_only=True)
class AccuracyConfig(SuiteConfig):
    """Settings of `bench accuracy`.

    Attributes:
        data: <Modality>/<dataset>/images + masks, shards, challenge npz, or <Modality>/<name>_image.nii.gz + _label.
        modality_of: modality of files whose name and folder say none.
        by: set: also the mean over data sets.
        images: of each modality or set, evenly chosen; all if not given.
        mosaic: N: measure on N x N pictures of a dataset side by side, in which all objects are small.
        bundle: one or more folders; the packaged one if not given.
        checkpoint: also its network in PyTorch, f32.
        grabcut: measure it too; it takes longer than the networks.
        jitter: move the boxes' sides by up to so many of 256 pixels; all but the curves are of the first.
        modality: what networks with class prompts are told: the truth, nothing, or another modality.
        detail: where networks look for small boxes, as `segment --detail`; with several, each as a method of its own.
        clean: what becomes of specks and holes, as `segment --clean`; with several, likewise.
        axis: along which volumes are sliced, as `segment --axis`; with several, likewise.
        csv: file to write every object's scores to, IoU among them.
        html: page with pictures to write, complete in itself.
        worst: picture to draw the first bundle's worst objects in.
        examples: picture to draw some images of each modality in.
        pareto: picture to plot the networks' accuracy over their time in.
    """

    data: Path
    modality_of: str | None = None
    by: Cut = "modality"
    images: int | None = None
    mosaic: int = 1
    bundle: tuple[Path, ...] = ()
    checkpoint: Path | None = None
    grabcut: bool = True
    jitter: tuple[float, ...] = (0.0,)
    modality: Telling = "told"
    detail: tuple[Detail, ...] = ("auto",)
    clean: tuple[Clean, ...] = ("none",)
    axis: tuple[AxisName, ...] = ("axial",)
    csv: Path | None = None
    html: Path | None = None
    worst: Path | None = None
    examples: Path | None = None
    pareto: Path | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise InputError(f"--images: expected a positive number, got {self.images}")
        if not all(0 <= jitter < math.inf for jitter in self.jitter) or not _differ(self.jitter):
            raise InputError(f"--jitter: expected different numbers of pixels, 0 or more, got {self.jitter}")
        if self.mosaic < 1:
            raise InputError(f"--mosaic: expected a positive number, got {self.mosaic}")
        for name, chosen in (("--detail", self.detail), ("--clean", self.clean), ("--axis", self.axis)):
            if not _differ(chosen):
                raise InputError(f"{name}: expected different ones, got {' '.join(chosen)}")
        for picture in (self.worst, self.examples, self.pareto):
            if picture:
                check_picture_suffix(picture)
        if self.pareto and self.pareto.suffix.lower() == ".bmp":
            raise InputError(f"--pareto: expected png, jpg or tif, which matplotlib writes, got {self.pareto.name}")


def _differ(values: Sequence[object]) -> bool:
    """Whether there are any, and no two are equal."""
    return 0 < len(values) == len(set(values))


def bench_accuracy(settings: AccuracyConfig) -> dict[str, Any]:
    """Measure, and show and write the figures."""
    networks = _networks(settings)
    found = find_items(settings.data, Modality.parse(settings.modality_of))
    items = choose(mosaics(found, settings.mosaic) if settings.mosaic > 1 else found, settings.images, settings.by)
    about = {
        "data": settings.data.resolve().name,
        "images": len(items),
        "by": settings.by,
        f"images of each {settings.by}": settings.images or "all",
        "mosaic": settings.mosaic,
        "detail": settings.detail,
        "clean": settings.clean,
        "axis": settings.axis,
        "modality": settings.modality,
        "jitters": settings.jitter,
    }
    worst, rows, complete = Worst(), list[Row](), False
    watch = worst.offer if settings.worst else None
    try:
        with show_progress("accuracy", len(items)) as step:
            for item in items:
                step(item.key)
                methods = _methods(networks, settings.grabcut)
                rows += measure_item(item, methods, settings.jitter, settings.modality, watch)
            complete = True
    finally:  # also when interrupted: what is measured is measured
        if rows:
            report = summarize(rows, about, complete, settings.by)
            _present(report, rows, worst, settings)
    if not rows:
        raise ImageError(f"data: expected labelled objects in {settings.data}, found none")
    if settings.examples:
        model, options = next(iter(networks.values()))
        write_picture(settings.examples, draw_examples(Network(Segmenter(model), options), items, settings.modality))
    return asdict(report)


def _networks(settings: AccuracyConfig) -> dict[str, tuple[Model, Options]]:
    """Each model once for each `--detail`, `--clean` and `--axis`, named after what there are several of."""
    networks = {}
    for name, model in _models(settings).items():
        for detail, clean, axis in product(settings.detail, settings.clean, settings.axis):
            choices = (detail, settings.detail), (clean, settings.clean), (axis, settings.axis)
            label = [name, *(own for own, among in choices if len(among) > 1)]
            networks[", ".join(label)] = model, Options(detail=detail, clean=clean, axis=axis)
    return networks


def _models(settings: AccuracyConfig) -> dict[str, Model]:
    """By name: the bundles' folders, shortened where that leaves them apart; the checkpoint last."""
    bundles: list[Path | None] = list(settings.bundle) or [None]
    short = len({path.name for path in bundles if path}) == len(bundles)
    models = {}
    for path in bundles:
        name = PACKAGED if path is None else path.name if short else str(path)
        if name in (TORCH, ELLIPSE, GRABCUT):
            raise InputError(f"--bundle: expected another folder name than {name}, which names a method in the tables")
        models[name] = Segmenter(path).model
    if settings.checkpoint:
        network, architecture = checkpoint.load(settings.checkpoint)
        if architecture == TEACHER:
            raise InputError(f"--checkpoint: {TEACHER} sees larger images than the others and is not measured here")
        network.quantizers = None  # f32, without the rounding of --qat
        models[TORCH] = torch_model(network, IMAGE_SIZE, architecture)
    for name, model in models.items():
        if settings.modality != "told" and not model.classes:
            raise InputError(f"--modality {settings.modality}: needs networks with class prompts, {name} has none")
        Segmenter(model).segment(np.zeros((8, 8), np.uint8), [[0, 0, 8, 8]])  # a first run takes longer
    return models


def _methods(networks: Mapping[str, tuple[Model, Options]], grabcut: bool) -> dict[str, Method]:
    """With caches that are empty, one a network: none must be quick by what another, or the same for an image that the
    data have twice, has encoded. Slices alone have no axis."""
    methods: dict[str, Method] = {}
    for name, (model, options) in networks.items():
        segmenter = Segmenter(model, cache_bytes=CACHE_BYTES)
        methods[name] = Network(segmenter, options)
        without_axis = name.removesuffix(f", {options.get('axis')}")
        methods.setdefault(f"{without_axis}, per slice", PerSlice(segmenter, options))
    return {**methods, ELLIPSE: Ellipse(), **({GRABCUT: GrabCut()} if grabcut else {})}


def _present(report: AccuracyReport, rows: Sequence[Row], worst: Worst, settings: AccuracyConfig) -> None:
    if settings.json:
        write_json(settings.json, asdict(report))
    text.show(report, console())
    if settings.csv:
        write_csv(settings.csv, rows)
    if settings.html:
        write_accuracy_page(settings.html, report)
    if settings.worst:
        write_picture(settings.worst, worst.sheet())
    if settings.pareto:
        write_pareto(settings.pareto, rows)
