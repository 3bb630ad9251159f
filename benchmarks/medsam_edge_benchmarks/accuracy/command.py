"""`medsam-edge bench accuracy`: its options, what is measured, and where the figures go."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np

from medsam_edge import Segmenter
from medsam_edge.errors import ImageError, InputError
from medsam_edge.modality import Modality
from medsam_edge.networks.model import Model
from medsam_edge.settings import Detail
from medsam_edge.writing.picture import check_picture_suffix, write_picture
from medsam_edge_benchmarks.accuracy.figures.examples import PER_MODALITY, draw_examples
from medsam_edge_benchmarks.accuracy.figures.pareto import write_pareto
from medsam_edge_benchmarks.accuracy.figures.worst import COUNT, Worst
from medsam_edge_benchmarks.accuracy.inputs.items import CUTS, Item, choose, find_items
from medsam_edge_benchmarks.accuracy.inputs.mosaic import mosaics
from medsam_edge_benchmarks.accuracy.output import text
from medsam_edge_benchmarks.accuracy.output.page import write_accuracy_page
from medsam_edge_benchmarks.accuracy.output.sheet import write_csv
from medsam_edge_benchmarks.accuracy.scoring.measure import TELLING, Row, measure_item
from medsam_edge_benchmarks.accuracy.scoring.methods import (
    GRABCUT,
    PER_SLICE,
    Ellipse,
    GrabCut,
    Method,
    Network,
    PerSlice,
)
from medsam_edge_benchmarks.accuracy.scoring.report import AccuracyReport, summarize
from medsam_edge_benchmarks.report.output import Suites, console, progress, write_json
from medsam_edge_convert.accuracy import ELLIPSE
from medsam_edge_convert.checks import IMAGE_SIZE
from medsam_edge_convert.torch_model import torch_model
from medsam_edge_train import checkpoint
from medsam_edge_train.models import TEACHER

PACKAGED, TORCH = "packaged", "torch"
CACHE_BYTES = 512 * 1024**2
"""For each network, detail and image: jitters and slices come back to the same pixels."""


def add_accuracy(suites: Suites) -> argparse.ArgumentParser:
    suite: argparse.ArgumentParser = suites.add_parser(
        "accuracy", help="DSC and NSD on images and volumes with labels, beside the ellipse and GrabCut"
    )
    suite.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="<Modality>/<dataset>/images + masks, shards, challenge npz, or <Modality>/<name>_image.nii.gz + _label",
    )
    suite.add_argument(
        "--modality-of", type=Modality.parse, metavar="NAME", help="modality of files whose name and folder say none"
    )
    suite.add_argument(
        "--by", choices=CUTS, default="modality", help="set: also the mean over data sets; default: modality"
    )
    suite.add_argument("--images", type=int, metavar="N", help="of each modality or set, evenly chosen; default: all")
    suite.add_argument(
        "--mosaic",
        type=int,
        default=1,
        metavar="N",
        help="measure on N x N pictures of a dataset side by side, in which all objects are small; default: 1",
    )
    suite.add_argument(
        "--bundle", type=Path, action="append", metavar="DIR", help="one or more; default: the packaged one"
    )
    suite.add_argument("--checkpoint", type=Path, help="also its network in PyTorch, f32")
    suite.add_argument("--no-grabcut", action="store_true", help="it takes longer than the networks")
    suite.add_argument(
        "--jitter",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="J",
        help="move the boxes' sides by up to so many of 256 pixels; all but the curves are of the first; default: 0",
    )
    suite.add_argument(
        "--modality",
        choices=TELLING,
        default="told",
        help="what networks with class prompts are told: the truth, nothing, or another modality; default: told",
    )
    suite.add_argument(
        "--detail",
        nargs="+",
        choices=get_args(Detail),
        default=["auto"],
        help="where networks look for small boxes, as `segment --detail`; with several, each as a method of its own; "
        "default: auto",
    )
    suite.add_argument("--csv", type=Path, metavar="FILE", help="write every object's scores, IoU among them")
    suite.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures, complete in itself")
    suite.add_argument("--worst", type=Path, metavar="PNG", help=f"draw the first bundle's {COUNT} worst objects")
    suite.add_argument("--examples", type=Path, metavar="PNG", help=f"draw {PER_MODALITY} images of each modality")
    suite.add_argument("--pareto", type=Path, metavar="PNG", help="plot the networks' accuracy over their time")
    suite.set_defaults(handler=_accuracy)
    return suite


def _accuracy(options: argparse.Namespace) -> dict[str, Any]:
    _check(options)
    networks = _networks(options)
    found = find_items(options.data, options.modality_of)
    items = choose(mosaics(found, options.mosaic) if options.mosaic > 1 else found, options.images, options.by)
    worst = Worst() if options.worst else None
    rows: list[Row] = []
    done = 0
    try:
        with progress(len(items)) as step:
            for item in items:
                step(item.key)
                methods = _methods(networks, grabcut=not options.no_grabcut)
                rows += measure_item(item, methods, options.jitter, options.modality, worst.offer if worst else None)
                done += 1
    finally:  # also when interrupted: what is measured is measured
        if rows:
            report = summarize(rows, _settings(options, items), done == len(items), options.by)
            _present(report, rows, worst, options)
    if not rows:
        raise ImageError(f"data: expected labelled objects in {options.data}, found none")
    if options.examples:
        model, detail = next(iter(networks.values()))
        write_picture(options.examples, draw_examples(Network(Segmenter(model), detail), items, options.modality))
    return asdict(report)


def _check(options: argparse.Namespace) -> None:
    """What can be refused before an hour's work is."""
    if options.images is not None and options.images < 1:
        raise InputError(f"--images: expected a positive number, got {options.images}")
    if not all(0 <= jitter < math.inf for jitter in options.jitter) or len(set(options.jitter)) < len(options.jitter):
        raise InputError(f"--jitter: expected different numbers of pixels, 0 or more, got {options.jitter}")
    if options.mosaic < 1:
        raise InputError(f"--mosaic: expected a positive number, got {options.mosaic}")
    if len(set(options.detail)) < len(options.detail):
        raise InputError(f"--detail: expected different ones, got {' '.join(options.detail)}")
    for picture in (options.worst, options.examples, options.pareto):
        if picture:
            check_picture_suffix(picture)
    if options.pareto and options.pareto.suffix.lower() == ".bmp":
        raise InputError(f"--pareto: expected png, jpg or tif, which matplotlib writes, got {options.pareto.name}")


def _networks(options: argparse.Namespace) -> dict[str, tuple[Model, Detail]]:
    """Each model once for each `--detail`."""
    several = len(options.detail) > 1
    return {
        f"{name}, {detail}" if several else name: (model, detail)
        for name, model in _models(options).items()
        for detail in options.detail
    }


def _models(options: argparse.Namespace) -> dict[str, Model]:
    """By name: the bundles' folders, shortened where that leaves them apart; the checkpoint last."""
    bundles: list[Path | None] = options.bundle or [None]
    short = len({path.name for path in bundles if path}) == len(bundles)
    models = {}
    for path in bundles:
        name = PACKAGED if path is None else path.name if short else str(path)
        if name in (TORCH, ELLIPSE, GRABCUT):
            raise InputError(f"--bundle: expected another folder name than {name}, which names a method in the tables")
        models[name] = Segmenter(path).model
    if options.checkpoint:
        network, architecture = checkpoint.load(options.checkpoint)
        if architecture == TEACHER:
            raise InputError(f"--checkpoint: {TEACHER} sees larger images than the others and is not measured here")
        network.quantizers = None  # f32, without the rounding of --qat
        models[TORCH] = torch_model(network, IMAGE_SIZE, architecture)
    for name, model in models.items():
        if options.modality != "told" and not model.classes:
            raise InputError(f"--modality {options.modality}: needs networks with class prompts, {name} has none")
        Segmenter(model).segment(np.zeros((8, 8), np.uint8), [[0, 0, 8, 8]])  # a first run takes longer
    return models


def _methods(networks: Mapping[str, tuple[Model, Detail]], grabcut: bool) -> dict[str, Method]:
    """With caches that are empty, one a network: none must be quick by what another, or the same for an image that the
    data have twice, has encoded."""
    methods: dict[str, Method] = {}
    for name, (model, detail) in networks.items():
        segmenter = Segmenter(model, cache_bytes=CACHE_BYTES)
        methods[name] = Network(segmenter, detail)
        methods[f"{name}, {PER_SLICE}"] = PerSlice(segmenter, detail)
    return {**methods, ELLIPSE: Ellipse(), **({GRABCUT: GrabCut()} if grabcut else {})}


def _settings(options: argparse.Namespace, items: Sequence[Item]) -> dict[str, Any]:
    return {
        "data": options.data.resolve().name,
        "images": len(items),
        "by": options.by,
        f"images of each {options.by}": options.images or "all",
        "mosaic": options.mosaic,
        "detail": options.detail,
        "modality": options.modality,
        "jitters": options.jitter,
    }


def _present(report: AccuracyReport, rows: Sequence[Row], worst: Worst | None, options: argparse.Namespace) -> None:
    if options.json:
        write_json(options.json, asdict(report))
    text.show(report, console())
    if options.csv:
        write_csv(options.csv, rows)
    if options.html:
        write_accuracy_page(options.html, report)
    if worst:
        write_picture(options.worst, worst.sheet())
    if options.pareto:
        write_pareto(options.pareto, rows)
