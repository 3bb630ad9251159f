"""The metrics of a run by epoch, read from its logs and drawn as curves."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from medsam_edge.writing.whole import replacing

BEFORE = "before.json"
"""File of the validation scores before the first step."""

PANELS = (("loss", ("train_loss", "val_mse")), ("score", ("train_dsc", "val_dsc", "val_nsd", "val_class_accuracy")))


def read_curves(folder: Path) -> dict[str, dict[int, float]]:
    """Every metric of a run: {name: {epoch: value}}; epoch 0 is before training.

    Each time a run is resumed it begins a new log. All logs are read; where epochs overlap the later log counts.
    A folder without logs gives {}.
    """
    curves: dict[str, dict[int, float]] = {}
    if (folder / BEFORE).is_file():
        before = json.loads((folder / BEFORE).read_text(encoding="utf-8"))
        curves = {name: {0: value} for name, value in before.items()}
    for path in sorted(folder.glob("log/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value and name not in ("epoch", "step"):
                        curves.setdefault(name, {})[int(row["epoch"]) + 1] = float(value)
    return curves


def draw_curves(folder: Path) -> Path:
    """Draw losses, and scores if there are any, by epoch as `folder/curves.png`; returns that path."""
    from matplotlib.figure import Figure

    curves = read_curves(folder)
    shown = {title: own for title, names in PANELS if (own := [name for name in names if name in curves])}
    figure = Figure(figsize=(5 * max(1, len(shown)), 4), layout="constrained")
    for column, (title, names) in enumerate(shown.items(), 1):
        axes = figure.add_subplot(1, len(shown), column)
        for name in names:
            axes.plot(*zip(*sorted(curves[name].items()), strict=True), "o-", label=name)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        # fixed places: matplotlib's search for the best one warns of its time on a busy machine
        axes.legend(loc="upper right" if title == "loss" else "lower right")
    picture = folder / "curves.png"
    with replacing(picture) as partial:
        figure.savefig(partial)
    return picture
