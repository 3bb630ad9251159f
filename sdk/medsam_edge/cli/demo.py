"""`medsam-edge demo`: segment one phantom of each modality from its boxes, score it and draw it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.metrics import dice
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom
from medsam_edge.results.result import Segmentation
from medsam_edge.segmenter import Segmenter
from medsam_edge.writing.picture import write_picture

TILE = 320  # pixels
COLUMNS = 4
DARK = 24  # grey value of banners and empty tiles


def run_demo(segmenter: Segmenter, output: Path) -> list[tuple[str, ...]]:
    """Write `overlay.png` and a label map per modality to the folder `output`; returns a table with headings.

    The segmenter is given the modality. The last column is the modality that a network with class prompts recognises.
    """
    headings = ("modality", "objects", "DSC", "score", "read+prepare", "encode", "decode", "restore", "total")
    table: list[tuple[str, ...]] = [(*headings, "recognised") if segmenter.model.classes else headings]
    tiles = []
    for modality in Modality:
        truth = phantom(modality)
        embedding = segmenter.embed(truth.image, modality)
        result = segmenter.decode(embedding, truth.boxes)
        result.save(output / f"{modality.value}_mask.png")
        tiles.append(_tile(result, modality.value))
        scores = [dice(result.label_map == label, truth.labels == label) for label in range(1, len(result) + 1)]
        ms = result.timings_ms
        stages = (ms["read"] + ms["prepare"], ms["encode"], ms["decode"], ms["restore"], sum(ms.values()))
        quality = (f"{np.mean(scores):.3f}", f"{result.scores.mean():.2f}")
        seen = embedding.recognized
        recognized = [f"{seen} {embedding.class_scores[seen]:.0%}"] if seen else []
        table.append((modality.value, str(len(result)), *quality, *(f"{stage:.0f}" for stage in stages), *recognized))
    write_picture(output / "overlay.png", contact_sheet(tiles))
    return table


def _tile(result: Segmentation, title: str) -> npt.NDArray[np.uint8]:
    picture = cv2.resize(result.overlay(), (TILE, TILE), interpolation=cv2.INTER_LINEAR)
    banner = np.full((30, TILE, 3), DARK, dtype=np.uint8)
    cv2.putText(banner, title, (8, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (240, 240, 240), 1, cv2.LINE_AA)
    return np.concatenate([banner, picture.astype(np.uint8)])


def contact_sheet(tiles: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Join (H, W, 3) tiles of one shape into one image, at most COLUMNS in a row."""
    columns = min(COLUMNS, len(tiles))
    filled = tiles + [np.full_like(tiles[0], DARK)] * (-len(tiles) % columns)
    rows = [np.concatenate(filled[start : start + columns], axis=1) for start in range(0, len(filled), columns)]
    return np.concatenate(rows)
