"""`medsam-edge bench latency|compare|encoder|decoder|accuracy|model|chain`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import openvino as ov
import torch

from medsam_edge.cli.info import cpu_features
from medsam_edge.errors import InputError, MedsamEdgeError
from medsam_edge.networks.bundle import load_bundle, packaged_bundle
from medsam_edge_benchmarks.accuracy.command import add_accuracy
from medsam_edge_benchmarks.chain import chain
from medsam_edge_benchmarks.latency.command import add_compare, add_latency
from medsam_edge_benchmarks.network import decoder, encoder
from medsam_edge_benchmarks.network import profile as model
from medsam_edge_benchmarks.network.encoder import Timing
from medsam_edge_benchmarks.report.output import write_json
from medsam_edge_train import checkpoint
from medsam_edge_train.models import TEACHER, ZOO, build
from medsam_edge_train.stages.phantoms import PhantomConfig, write_phantoms


def run(argv: list[str]) -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="medsam-edge bench", description="Measure latency and accuracy.")
    suites = parser.add_subparsers(title="suites", required=True, metavar="SUITE")

    cases, compare = add_latency(suites), add_compare(suites)
    latency = suites.add_parser("encoder", help="one slice through the encoder: PyTorch, fused, OpenVINO f32 and int8")
    source = latency.add_mutually_exclusive_group()
    source.add_argument("--architecture", choices=sorted(ZOO), default="rep_medsam", help="with random weights")
    source.add_argument("--checkpoint", type=Path, help="a trained network instead")
    latency.add_argument("--rounds", type=int, default=15, help="default: 15")
    latency.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all")
    latency.set_defaults(handler=_encoder)

    boxes = suites.add_parser("decoder", help="boxes of one image: PyTorch as published, and OpenVINO")
    boxes.add_argument("--architecture", choices=("rep_medsam", "rep_medsam_s"), default="rep_medsam")
    boxes.add_argument("--boxes", type=int, nargs="+", default=[1, 16], help="of one image; default: 1 16")
    boxes.add_argument("--rounds", type=int, default=10, help="default: 10")
    boxes.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all")
    boxes.set_defaults(handler=_decoder)

    scores = add_accuracy(suites)

    whole = suites.add_parser("chain", help="prepare, embed, distill, fit, finetune, convert, segment on a little data")
    whole.add_argument("--data", type=Path, help="anything `train prepare` reads; default: synthetic images")
    whole.add_argument("--fraction", type=float, default=1.0, help="part of the images that is used; default: 1")
    whole.add_argument("--teacher", type=Path, required=True, help="checkpoint whose embeddings are learned")
    whole.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to make")
    whole.set_defaults(handler=_chain)

    inside = suites.add_parser("model", help="parameters, bytes, arithmetic and time per node of a bundle")
    inside.add_argument("--bundle", type=Path, metavar="DIR", help="default: the packaged one")
    inside.add_argument("--boxes", type=int, default=1, help="decoded at once; default: 1")
    inside.add_argument("--rounds", type=int, default=10, help="default: 10")
    inside.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all")
    inside.add_argument("--top", type=int, default=10, help="rows per table; default: 10")
    inside.set_defaults(handler=_model)

    for suite in (cases, compare, latency, boxes, scores, whole, inside):
        suite.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(argv)
    result: dict[str, Any] = options.handler(options)
    if options.json:
        write_json(options.json, result)
    if failed := result.get("failed"):
        raise MedsamEdgeError(failed)
    return 0


def _encoder(options: argparse.Namespace) -> dict[str, Any]:
    if options.rounds < 1 or options.threads < 1:
        raise InputError("rounds, threads: expected positive numbers")
    if options.checkpoint:
        network, name = checkpoint.load(options.checkpoint)
    else:
        network, name = build(options.architecture).eval(), options.architecture
    if name == TEACHER:
        raise InputError(f"architecture: {TEACHER} sees larger images than the others and is not measured here")
    if not any(key.endswith("running_var") for key in network.image_encoder.state_dict()):
        raise InputError(
            "--checkpoint: expected branches not fused, to be timed as they are, got fused ones (or --qat's)"
        )
    timings = encoder.measure_encoder(network, options.rounds, options.threads, _progress)
    work = encoder.gmacs(network)
    features = " ".join(cpu_features())
    print(f"\nencoder of {name}, 256×256, {work:.1f} GMAC, {options.threads} threads, {features}")
    _print_timings(timings)
    return {
        "architecture": name,
        "gmacs": work,
        "threads": options.threads,
        "cpu_features": cpu_features(),
        "openvino": ov.__version__,
        "torch": torch.__version__,
        "timings": {variant: asdict(timing) for variant, timing in timings.items()},
    }


def _decoder(options: argparse.Namespace) -> dict[str, Any]:
    if min(options.rounds, options.threads, *options.boxes) < 1:
        raise InputError("boxes, rounds, threads: expected positive numbers")
    network = build(options.architecture).eval()
    features = " ".join(cpu_features())
    found: dict[str, dict[str, Timing]] = {}
    for count in options.boxes:
        found[str(count)] = decoder.measure_decoder(network, count, options.rounds, options.threads, _progress)
        print(f"\ndecoder of {options.architecture}, {count} boxes, {options.threads} threads, {features}; ms per box")
        _print_timings(found[str(count)])
    timings = {count: {name: asdict(own) for name, own in timing.items()} for count, timing in found.items()}
    return {
        "architecture": options.architecture,
        "threads": options.threads,
        "cpu_features": cpu_features(),
        "timings": timings,
    }


def _print_timings(timings: Mapping[str, Timing]) -> None:
    width = max(map(len, timings))
    for variant, own in timings.items():
        spread = f"{own.low_ms:.0f}–{own.high_ms:.0f}"
        print(f"{variant:{width}} {own.median_ms:7.1f} ms  ({spread})  {own.ratio:5.2f}×")


def _chain(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or write_phantoms(PhantomConfig(Path(folder) / "phantoms"))
        result = chain(data, options.teacher, options.output, options.fraction)
    print(result)
    failed = f"chain: went the wrong way: {', '.join(result.wrong)}" if result.wrong else None
    return {**asdict(result), "failed": failed}


def _model(options: argparse.Namespace) -> dict[str, Any]:
    if min(options.threads, options.top) < 1:
        raise InputError("threads, top: expected positive numbers")
    bundle = load_bundle(options.bundle or packaged_bundle())
    profiles = model.profile(bundle, options.boxes, options.rounds, options.threads)
    print(model.as_table(profiles, options.top))
    return {"boxes": options.boxes, "threads": options.threads, "parts": [asdict(own) for own in profiles]}


def _progress(line: str) -> None:
    print(f"\r{line:60}", end="", file=sys.stderr, flush=True)
