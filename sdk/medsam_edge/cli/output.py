"""What the command prints and draws: results as JSON, as a table or as tiles; progress, warnings and errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medsam_edge.results.result import Segmentation, VolumeSegmentation
from medsam_edge.settings import Progress

COLUMNS = 4
DARK = 24  # grey value of banners and empty tiles


def as_json(result: Segmentation | VolumeSegmentation, output: Path) -> dict[str, Any]:
    """Describe a result, saved to `output`, as values for JSON."""
    return {
        "output": str(output),
        "modality": result.modality and result.modality.value,
        "modality_confidence": result.modality_confidence and round(result.modality_confidence, 4),
        "objects": [
            {
                "label": index + 1,
                "box": None if np.isnan(box[0]) else box.tolist(),
                "score": round(float(score), 4),
                **_size(result, index),
            }
            for index, (box, score) in enumerate(zip(result.boxes, result.scores, strict=True))
        ],
        "timings_ms": {stage: round(ms, 2) for stage, ms in result.timings_ms.items()},
    }


def _size(result: Segmentation | VolumeSegmentation, index: int) -> dict[str, Any]:
    if isinstance(result, Segmentation):
        return {"pixels": int(result.masks[index].pixels.sum())}
    scores = result.slice_scores[index]
    return {
        "voxels": sum(int(mask.pixels.sum()) for mask in result.masks[index].values()),
        "slice_scores": {str(z): round(float(scores[z]), 4) for z in sorted(result.masks[index])},
    }


def as_table(result: Segmentation | VolumeSegmentation, output: Path) -> str:
    """Describe a result, saved to `output`, as lines of text."""
    unit, corners = ("voxels", "x0, y0, z0, x1, y1, z1") if result.boxes.shape[1] == 6 else ("pixels", "x0, y0, x1, y1")
    rows = [("label", f"box ({corners})", "score", unit)]
    for item in as_json(result, output)["objects"]:
        box = ", ".join(f"{value:g}" for value in item["box"] or []) or "none"
        rows.append((str(item["label"]), box, f"{item['score']:.2f}", str(item[unit])))
    stages = ", ".join(f"{stage} {ms:.0f}" for stage, ms in result.timings_ms.items())
    confidence = result.modality_confidence
    recognized = "" if confidence is None else f"\nrecognised as {result.modality} ({confidence:.0%})"
    return f"{table(rows)}{recognized}\n{output}  (ms: {stages})"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align columns, the first to the left, the others to the right."""
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    form = "  ".join([f"{{:{first}}}", *(f"{{:>{width}}}" for width in others)])
    return "\n".join(form.format(*row) for row in rows)


def contact_sheet(tiles: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Join (H, W, 3) tiles of one shape into one image, at most COLUMNS in a row."""
    columns = min(COLUMNS, len(tiles))
    filled = tiles + [np.full_like(tiles[0], DARK)] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(filled[at : at + columns], 1) for at in range(0, len(filled), columns)])


@contextmanager
def slices_shown() -> Iterator[Progress | None]:
    """Yield a callback that shows progress on one line, wiped at the end; None if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    shown = ""

    def show(done: int, total: int) -> None:
        nonlocal shown
        shown = f"{done} of {total} slices"
        print(shown, end="\r", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print(" " * len(shown), end="\r", file=sys.stderr, flush=True)


def show_error(error: object) -> None:
    """Print an error as one line on stderr."""
    print(f"medsam-edge: error: {str(error) or type(error).__name__}", file=sys.stderr)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as one line on stderr, in place of `warnings.showwarning`."""
    print(f"medsam-edge: warning: {message}", file=sys.stderr)
