"""`medsam-edge convert CHECKPOINT -o BUNDLE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medsam_edge_convert.convert import ConvertConfig, convert
from medsam_edge_train.models import ZOO


def run(argv: list[str]) -> int:
    """Parse and convert; returns the exit code, raises the errors of `convert`."""
    parser = argparse.ArgumentParser(prog="medsam-edge convert", description="Turn a checkpoint into a model bundle.")
    parser.add_argument("checkpoint", type=Path, help="safetensors, or a published .pth")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="BUNDLE", help="folder to make")
    parser.add_argument("--precision", choices=("int8", "f32"), default="int8", help="default: int8")
    parser.add_argument(
        "--calibration", metavar="DIR", help="images for int8: a folder, or 'phantoms'; not after --qat"
    )
    parser.add_argument("--architecture", choices=sorted(ZOO), help="default: recognised from the tensors")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing bundle")
    options = parser.parse_args(argv)
    config = ConvertConfig(
        checkpoint=options.checkpoint,
        output=options.output,
        precision=options.precision,
        calibration=options.calibration,
        architecture=options.architecture,
        overwrite=options.overwrite,
    )
    convert(config, report=lambda line: print(line, file=sys.stderr, flush=True))
    print(options.output)
    return 0
