"""What a preparation found, took and left out: numbers, and a figure of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medsam_edge.writing.whole import replacing
from medsam_edge_train.prepare.sources import Skipped

LEVELS = 256
COLUMNS = 4
MINIMUM_BARS = 6  # width of the axis in bars, so that bars stay narrow if there are few modalities
SOURCE_COLOR, SAMPLED_COLOR = "#9aa5b1", "#1f6feb"


@dataclass(frozen=True)
class Counts:
    """Counts of one modality."""

    found: int  # images with a label: 2D images, and labelled slices of volumes that could be read
    sampled: int  # images left after interval and fraction
    train: int  # images written; a sampled image without a large enough object is in neither split
    val: int
    objects: int  # on the images written, one per label value and image
    skipped: int  # files that could not be used
    histogram: tuple[int, ...]  # (256,) number of pixels of each grey level on the images written


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did."""

    modalities: Mapping[str, Counts]  # of those that occur
    skipped: tuple[Skipped, ...]  # every source that gave no image, and why; an unknown modality is a reason too
    split_kept: int  # files whose split the source says
    split_drawn: int  # files whose split was drawn by patient

    def as_json(self) -> dict[str, Any]:
        """The content of report.json; it leaves out the histograms, which are in report.png."""
        modalities = {name: asdict(counts) for name, counts in self.modalities.items()}
        for counts in modalities.values():
            del counts["histogram"]
        split = {"kept": self.split_kept, "drawn": self.split_drawn}
        return {"modalities": modalities, "split": split, "skipped": [entry._asdict() for entry in self.skipped]}

    def __str__(self) -> str:
        columns = ("found", "sampled", "train", "val", "objects", "skipped")
        rows = [(name, *(getattr(counts, column) for column in columns)) for name, counts in self.modalities.items()]
        total = ("all", *(sum(row[i + 1] for row in rows) for i in range(len(columns))))
        lines = [("modality", *columns), *rows, total]
        text = ["".join(f"{cell!s:<13}" if i == 0 else f"{cell!s:>9}" for i, cell in enumerate(line)) for line in lines]
        return "\n".join([*text, *(f"skipped: {source}: {reason}" for source, reason in self.skipped)])


def draw_report(report: PrepareReport, path: Path) -> None:
    """Draw images per modality in source and sample (class-prompt paper, Fig. 1), and the grey levels of each."""
    from matplotlib.figure import Figure

    rows = -(-len(report.modalities) // COLUMNS)
    figure = Figure(figsize=(11, 4.2 + 1.9 * rows), dpi=110, layout="constrained")
    grid = figure.add_gridspec(rows + 1, COLUMNS, height_ratios=[2.2, *[1] * rows])
    _draw_counts(figure.add_subplot(grid[0, :]), report)
    for index, (name, counts) in enumerate(report.modalities.items()):
        _draw_histogram(figure.add_subplot(grid[1 + index // COLUMNS, index % COLUMNS]), name, counts)
    with replacing(path) as partial:
        figure.savefig(partial, format="png")


def _draw_counts(axes: Any, report: PrepareReport) -> None:
    names = list(report.modalities)
    bars = (("found", "in the source", SOURCE_COLOR, -0.2), ("sampled", "sampled for training", SAMPLED_COLOR, 0.2))
    for column, text, color, shift in bars:
        heights = [getattr(report.modalities[name], column) for name in names]
        drawn = axes.bar(np.arange(len(names)) + shift, heights, 0.38, color=color, label=text)
        axes.bar_label(drawn, [f"{height:,}" for height in heights], fontsize=7, padding=1)
    axes.set_ylim(0.7, 2 * max([1, *(counts.found for counts in report.modalities.values())]))
    axes.set_yscale("log")  # after the limits, which hold a positive value where every bar is zero
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(-0.6, max(len(names), MINIMUM_BARS) - 0.4)
    axes.set_xticks(np.arange(len(names)), names)
    axes.set_ylabel("images")
    axes.set_title("Images per modality", loc="left", pad=12)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_histogram(axes: Any, name: str, counts: Counts) -> None:
    share = 100 * np.array(counts.histogram) / max(1, sum(counts.histogram))
    axes.fill_between(np.arange(LEVELS), share, step="mid", color=SAMPLED_COLOR, linewidth=0)
    top = np.sort(share)[-6] or share.max() or 1.0  # a few peaks, such as black, may exceed the axis
    axes.set_ylim(0, 1.25 * float(top))
    axes.set_xlim(0, LEVELS - 1)
    axes.set_xticks([0, 128, 255])
    axes.tick_params(labelsize=7)
    axes.set_title(f"{name}, {counts.train + counts.val:,} images", fontsize=9, loc="left")
    axes.set_ylabel("% of pixels", fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
