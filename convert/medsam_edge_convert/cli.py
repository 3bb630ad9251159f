"""`medsam-edge convert CHECKPOINT -o BUNDLE`."""

from __future__ import annotations

import sys
from typing import Any

from medsam_edge_convert.convert import ConvertConfig, check_inputs, convert
from medsam_edge_train.options import new_app, run_app, takes


def run(argv: list[str]) -> int:
    """Parse and convert; returns the exit code, raises the errors of `convert`."""
    app = new_app("medsam-edge convert", "Turn a checkpoint into a model bundle.")
    app.default(takes(_convert, ConvertConfig))
    run_app(app, argv)
    return 0


def _convert(settings: Any, *, dry_run: bool = False) -> None:
    """Convert, or check what goes in.

    Args:
        dry_run: read the checkpoint, find the images, say what would be done, and stop.
    """
    if dry_run:
        print(check_inputs(settings))
        return
    convert(settings, lambda step: print(step, file=sys.stderr, flush=True))
    print(settings.output)
