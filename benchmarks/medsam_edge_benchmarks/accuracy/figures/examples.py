"""A contact sheet of what a bundle makes of a few images of each modality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality
from medsam_edge.results.result import VolumeSegmentation
from medsam_edge_benchmarks.accuracy.inputs.items import Item
from medsam_edge_benchmarks.accuracy.inputs.prompts import Prompts
from medsam_edge_benchmarks.accuracy.scoring.measure import tell
from medsam_edge_benchmarks.accuracy.scoring.methods import Network
from medsam_edge_convert.accuracy import evenly, outlined

PER_MODALITY = 5


def draw_examples(network: Network, items: Sequence[Item], telling: str) -> npt.NDArray[np.uint8]:
    """Each modality a row of evenly chosen images with their masks, truth outlined in white; of a volume, one slice."""
    rows = []
    for modality in Modality:
        own = [item for item in items if item.modality is modality]
        if own:
            tiles = [_draw(network, item, tell(telling, modality)) for item in evenly(own, PER_MODALITY)]
            tiles += [np.zeros_like(tiles[0])] * (PER_MODALITY - len(tiles))
            rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)


def _draw(network: Network, item: Item, told: Modality | None) -> npt.NDArray[np.uint8]:
    image, labels, spacing = item.load()
    prompts = Prompts(labels, spacing, item.key)
    result = network.segmenter.segment(image, prompts.boxes, told, detail=network.detail)
    if isinstance(result, VolumeSegmentation):
        z = result.middles[0] if len(result) else len(labels) // 2
        return outlined(result.overlay(z), labels[z])
    return outlined(result.overlay(), labels)
