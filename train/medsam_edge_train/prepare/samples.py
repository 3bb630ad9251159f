"""Turns a pair of files into its training images."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from medsam_edge.errors import MedsamEdgeError
from medsam_edge_train.data.shards import make_key
from medsam_edge_train.prepare.config import PrepareConfig, fractions_of
from medsam_edge_train.prepare.readers import read_labels, read_pixels
from medsam_edge_train.prepare.report import LEVELS
from medsam_edge_train.prepare.slices import (
    Labels,
    Pixels,
    choose_slices,
    display,
    display_slices,
    drop_small_objects,
    encode,
    encode_jpeg,
    label_values,
    shrink,
)
from medsam_edge_train.prepare.sources import Pair
from medsam_edge_train.prepare.split import patient_of, uniform


class Prepared(NamedTuple):
    """The training images of one pair; the counts are those of `report.Counts`."""

    found: int = 0
    samples: Sequence[tuple[str, Mapping[str, bytes]]] = ()  # as `write_shard` takes them
    sampled: int = 0
    objects: int = 0
    histogram: Sequence[int] = (0,) * LEVELS
    reason: str = ""  # why the pair was skipped, else empty


def prepare_pair(pair: Pair, config: PrepareConfig) -> Prepared:
    """Read one pair and make its training images; a pair that cannot be used gives the reason, not an error."""
    try:
        return _prepare_pair(pair, config)
    except (MedsamEdgeError, MemoryError, cv2.error) as error:
        folders = (str(pair.image.parent), str(pair.label.parent))
        return Prepared(
            reason=functools.reduce(lambda text, folder: text.replace(f"{folder}/", ""), folders, str(error))
        )


def _prepare_pair(pair: Pair, config: PrepareConfig) -> Prepared:
    if pair.is_picture and not _is_sampled(pair, 0, config):
        return Prepared(found=1)
    labels = read_labels(pair)
    if labels.ndim == 2:
        if not _is_sampled(pair, 0, config):
            return Prepared(found=1)
        image = display(read_pixels(pair, labels), pair.modality, config.level_width)
        return _pack(pair, config, Prepared(found=1, sampled=1), [((), image, labels)])
    labels = drop_small_objects(labels, config.minimum_voxels)
    found = sum(bool(plane.any()) for plane in labels)
    chosen = [z for z in choose_slices(labels, config.interval, config.beyond).tolist() if _is_sampled(pair, z, config)]
    if not chosen:
        return Prepared(found=found)
    images = display_slices(read_pixels(pair, labels), np.array(chosen), pair.modality, config.level_width)
    slices = [((f"z{z:04d}",), image, labels[z]) for z, image in zip(chosen, images, strict=True)]
    return _pack(pair, config, Prepared(found=found, sampled=len(chosen)), slices)


def _is_sampled(pair: Pair, z: int, config: PrepareConfig) -> bool:
    fraction = fractions_of(config.fractions).get(pair.modality, 1.0)
    return uniform(config.seed, "sample", pair.modality.value, pair.dataset, pair.name, z) < fraction


def _pack(
    pair: Pair, config: PrepareConfig, counts: Prepared, slices: Iterable[tuple[tuple[str, ...], Pixels, Labels]]
) -> Prepared:
    """Shrink the images to network size and encode them with their json.

    Images without an object are left out, unless slices beyond objects are wanted.
    """
    samples: list[tuple[str, Mapping[str, bytes]]] = []
    objects, histogram = 0, np.zeros(LEVELS, dtype=np.int64)
    for position, image, labels in slices:
        image, labels = shrink(image, labels, config.image_size)
        labels = drop_small_objects(labels, config.minimum_pixels)
        values = label_values(labels)
        if len(values) == 0 and not (config.beyond and position):
            continue
        about = {"modality": pair.modality.value, "dataset": pair.dataset, "patient": patient_of(pair, config)}
        picture = {"image.jpg": encode_jpeg(image, config.jpeg)} if config.jpeg else {"image.png": encode(image)}
        members = {
            **picture,
            "mask.png": encode(labels if labels.max() > 255 else labels.astype(np.uint8)),
            "json": json.dumps(about).encode(),
        }
        samples.append((make_key(pair.modality.value, pair.dataset, pair.name, *position), members))
        objects += len(values)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        histogram += np.bincount(grey.ravel(), minlength=LEVELS)
    return counts._replace(samples=samples, objects=objects, histogram=histogram.tolist())
