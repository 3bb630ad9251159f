"""The published networks in PyTorch, run as the published scripts run them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch

from medsam_edge.intensity import volume_to_display
from medsam_edge.reading.read import read_image
from medsam_edge.writing.whole import replacing
from medsam_edge_benchmarks.latency.cases.cases import DrawnCase
from medsam_edge_benchmarks.latency.published import scripts as published
from medsam_edge_benchmarks.latency.variants import TOTAL, Run, Stopwatch
from medsam_edge_train import checkpoint
from medsam_edge_train.models import MedSAM, fuse

PER_MASK = {"image": ("decode", "restore"), "volume": ("prepare", "encode", "decode", "restore")}
"""Stages whose work grows with the number of masks; in a volume the scripts encode a slice again for each object."""
UNITS = {"image": "boxes", "volume": "slices, counted per object"}


class Baseline:
    """A network behind the published scripts.

    Args:
        slices, boxes: at most so many slices of a volume's first object, or boxes of an image, are run, and the seconds
            of what they cost scaled up to the whole case by count; 0 for all.
    """

    def __init__(self, network: published.BoxNetwork, threads: int, slices: int = 0, boxes: int = 0) -> None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        self.network = network
        self.slices, self.boxes = slices, boxes

    def run(self, drawn: DrawnCase, output: Path) -> Run:
        limit = self.slices if drawn.is_volume else self.boxes
        part = drawn.part(self.slices, self.boxes) if 0 < limit < drawn.masks else drawn
        segment = published.segment_volume if drawn.is_volume else published.segment_image
        watch = Stopwatch()
        image = read_image(drawn.file).pixels
        if image.dtype != np.uint8:  # the challenge's files were 8-bit before the scripts saw them
            image = volume_to_display(image, drawn.modality)
        watch.lap("read")
        labels = segment(self.network, image, published.challenge_boxes(part.boxes), watch.lap)
        with replacing(output) as partial:
            np.savez_compressed(partial, segs=labels)
        watch.lap("write")
        return _scaled(watch.seconds, part, drawn)


def load_baseline(path: Path, fused: bool, threads: int, slices: int, boxes: int) -> Baseline:
    """The network of a checkpoint, with its branches fused or as they are."""
    network, _ = checkpoint.load(path)
    return Baseline(cast(MedSAM, fuse(network)) if fused else network, threads, slices, boxes)


def _scaled(measured: Mapping[str, float], part: DrawnCase, whole: DrawnCase) -> Run:
    """The seconds of the whole case from those of its part, which may be all of it."""
    kind = "volume" if whole.is_volume else "image"
    factors = dict.fromkeys(PER_MASK[kind], whole.masks / part.masks)
    factors["merge"] = len(whole.boxes) / len(part.boxes)
    seconds = {stage: own * factors.get(stage, 1.0) for stage, own in measured.items()}
    seconds["restore"] += seconds.pop("merge", 0.0)
    if part is whole:
        return Run(seconds, sum(seconds.values()))
    source = f"{part.masks} of {whole.masks} {UNITS[kind]}"
    return Run(seconds, sum(seconds.values()), source, frozenset({*PER_MASK[kind], TOTAL}))
