"""`medsam-edge convert CHECKPOINT -o BUNDLE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medsam_edge_convert.convert import PRECISIONS, ConvertConfig, convert
from medsam_edge_convert.gate import Gate
from medsam_edge_train.models import ZOO


def run(argv: list[str]) -> int:
    """Parse and convert; returns the exit code, raises the errors of `convert`."""
    parser = argparse.ArgumentParser(prog="medsam-edge convert", description="Turn a checkpoint into a model bundle.")
    parser.add_argument("checkpoint", type=Path, help="safetensors, or a published .pth")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="folder to make")
    parser.add_argument("--precision", choices=PRECISIONS, default="int8", help="default: int8")
    parser.add_argument(
        "--calibration", metavar="DIR", help="folder of images or shards for int8, or 'phantoms'; not after --qat"
    )
    parser.add_argument("--validation", type=Path, metavar="DIR", help="images with masks, to measure accuracy on")
    of_gate = [
        parser.add_argument("--validation-images", dest="images", type=int, help=f"default: {Gate.images}"),
        parser.add_argument("--max-drop", type=float, help=f"points of mean DSC; default: {Gate.max_drop}"),
        parser.add_argument(
            "--max-modality-drop",
            type=float,
            help=f"points of any modality's DSC; default: {Gate.max_modality_drop}",
        ),
    ]
    parser.add_argument("--report", type=Path, metavar="FILE", help=".html, with the worst cases, or .json")
    parser.add_argument("--architecture", choices=sorted(ZOO), help="default: recognised from the tensors")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    options = parser.parse_args(argv)
    given = {action.dest: value for action in of_gate if (value := getattr(options, action.dest)) is not None}
    if given and not options.validation:
        parser.error("--validation-images, --max-drop and --max-modality-drop need --validation")
    gate = Gate(options.validation, **given) if options.validation else None
    config = ConvertConfig(
        checkpoint=options.checkpoint,
        output=options.output,
        precision=options.precision,
        calibration=options.calibration,
        architecture=options.architecture,
        gate=gate,
        report=options.report,
        overwrite=options.overwrite,
    )
    convert(config, lambda step: print(step, file=sys.stderr, flush=True), _progress)
    print(options.output)
    return 0


def _progress(done: int, total: int) -> None:
    print(f"accuracy  {done} of {total} images", end="\n" if done == total else "\r", file=sys.stderr, flush=True)
