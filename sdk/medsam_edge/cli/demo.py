"""`medsam-edge demo`: segment one phantom of each modality from its boxes, score it and draw it."""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.cli.output import DARK, contact_sheet, table
from medsam_edge.cli.segment import make_segmenter
from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom
from medsam_edge.results.result import Segmentation
from medsam_edge.writing.picture import write_picture

TILE = 320  # pixels


def show_demo(options: argparse.Namespace) -> int:
    """Write `overlay.png` and a label map per modality to the output folder, and print a table; returns the exit code.

    The segmenter is given the modality. The last column is the modality that a network with class prompts recognises.
    """
    segmenter = make_segmenter(options)
    headings = ("modality", "objects", "DSC", "score", "read+prepare", "encode", "decode", "restore", "total")
    rows: list[tuple[str, ...]] = [(*headings, "recognised") if segmenter.model.classes else headings]
    tiles = []
    for modality in Modality:
        truth = phantom(modality)
        embedding = segmenter.embed(truth.image, modality)
        result = segmenter.decode(embedding, truth.boxes)
        result.save(options.output / f"{modality.value}_mask.png")
        tiles.append(_tile(result, modality.value))
        scores = [dice(result.label_map == label, truth.labels == label) for label in range(1, len(result) + 1)]
        ms = result.timings_ms
        stages = (ms["read"] + ms["prepare"], ms["encode"], ms["decode"], ms["restore"], sum(ms.values()))
        quality = (f"{np.mean(scores):.3f}", f"{result.scores.mean():.2f}")
        seen = embedding.recognized
        recognized = [f"{seen} {embedding.class_scores[seen]:.0%}"] if seen else []
        rows.append((modality.value, str(len(result)), *quality, *(f"{stage:.0f}" for stage in stages), *recognized))
    write_picture(options.output / "overlay.png", contact_sheet(tiles))
    print(table(rows))
    print(f"{options.output / 'overlay.png'} and {len(rows) - 1} masks; synthetic images with known truth, times in ms")
    return 0


def _tile(result: Segmentation, title: str) -> npt.NDArray[np.uint8]:
    picture = cv2.resize(result.overlay(), (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    banner = np.full((30, TILE, 3), DARK, dtype=np.uint8)
    cv2.putText(banner, title, (8, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (240, 240, 240), 1, cv2.LINE_AA)
    return np.concatenate([banner, picture.astype(np.uint8)])
