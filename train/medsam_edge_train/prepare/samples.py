"""Turns a pair of files into its training images: chosen slices, 8 bits, network size, png or jpg."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from medsam_edge.boxes import boxes_from_masks
from medsam_edge.errors import ImageError, MedsamEdgeError
from medsam_edge.geometry import Geometry
from medsam_edge.intensity import to_display, volume_to_display
from medsam_edge.modality import Modality
from medsam_edge_train.data.cases import Pixels
from medsam_edge_train.data.shards import make_key
from medsam_edge_train.prepare.config import PrepareConfig, fractions_of
from medsam_edge_train.prepare.readers import Labels, read_labels, read_with_padding
from medsam_edge_train.prepare.report import LEVELS
from medsam_edge_train.prepare.sources import Pair, patient_of, uniform


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
        reason = str(error).replace(f"{pair.image.parent}/", "").replace(f"{pair.label.parent}/", "")
        return Prepared(reason=reason)


def _prepare_pair(pair: Pair, config: PrepareConfig) -> Prepared:
    if pair.is_picture and not _is_sampled(pair, 0, config):
        return Prepared(found=1)
    labels = read_labels(pair)
    found, chosen = 1, [0]
    if labels.ndim == 3:
        labels = drop_small_objects(labels, config.minimum_voxels)
        found = sum(bool(plane.any()) for plane in labels)
        chosen = choose_slices(labels, config.interval, config.beyond).tolist()
    chosen = [z for z in chosen if _is_sampled(pair, z, config)]
    if not chosen:
        return Prepared(found=found)
    pixels, padding = read_with_padding(pair, labels)
    ct, eight_bits = pair.modality is Modality.CT, pixels.dtype == np.uint8
    window = (config.window[0], config.window[1]) if ct and not eight_bits else None
    slices: Iterable[tuple[tuple[str, ...], Pixels, Labels]]
    if labels.ndim == 2:
        slices = [((), to_display(pixels, pair.modality, window, padding), labels)]
    else:
        if ct or eight_bits:  # slices do not depend on each other
            shown = volume_to_display(pixels[chosen], pair.modality, window, padding)
        else:  # the percentiles are those of the whole volume, as in the challenge's data preparation
            shown = volume_to_display(pixels, pair.modality, window, padding)[chosen]
        slices = [((f"z{z:04d}",), image, labels[z]) for z, image in zip(chosen, shown, strict=True)]
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
    about = {"modality": pair.modality.value, "dataset": pair.dataset, "patient": patient_of(pair, config)}
    for position, image, labels in slices:
        image, labels = shrink(image, labels, config.image_size)
        labels = drop_small_objects(labels, config.minimum_pixels)
        values = label_values(labels)
        if len(values) == 0 and not (config.beyond and position):
            continue
        if config.jpeg:
            picture = {"image.jpg": _encode(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, config.jpeg)}
        else:
            picture = {"image.png": _encode(image, ".png")}
        mask = _encode(labels if labels.max() > 255 else labels.astype(np.uint8), ".png")
        members = {**picture, "mask.png": mask, "json": json.dumps(about).encode()}
        samples.append((make_key(pair.modality.value, pair.dataset, pair.name, *position), members))
        objects += len(values)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        histogram += np.bincount(grey.ravel(), minlength=LEVELS)
    return counts._replace(samples=samples, objects=objects, histogram=histogram.tolist())


def label_values(labels: Labels) -> npt.NDArray[np.intp]:
    """Values above 0 of an (H, W) or (D, H, W) label map, in rising order."""
    seen = np.zeros(np.iinfo(np.uint16).max + 1, dtype=bool)
    for plane in labels.reshape(-1, *labels.shape[-2:]):  # plane by plane, because numpy makes indices of 8 bytes
        seen[plane] = True
    return 1 + np.flatnonzero(seen[1:])


def drop_small_objects(labels: Labels, minimum: int) -> Labels:
    """A copy of (H, W) or (D, H, W) labels without the connected parts of one value that have fewer than `minimum`
    pixels or voxels; the same array if there are none. Corners connect.

    A stray pixel far from its organ would stretch the organ's box. The challenge's data preparation removes them too.
    """
    kept = labels
    for value, box in zip(label_values(labels), boxes_from_masks(labels).astype(int), strict=True):
        low, high = box[: labels.ndim][::-1], box[labels.ndim :][::-1]
        crop = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
        numbers = _number_parts((labels[crop] == value).astype(np.uint8))
        small = np.bincount(numbers.ravel()) < minimum
        small[0] = False  # background
        if small.any():
            kept = labels.copy() if kept is labels else kept
            kept[crop][small[numbers]] = 0
    return kept


def _number_parts(mask: Pixels) -> npt.NDArray[Any]:
    """Number the connected parts of an (H, W) or (D, H, W) mask 1, 2, …; OpenCV is much faster in 2D."""
    if mask.ndim == 2:
        return cv2.connectedComponents(mask, connectivity=8)[1]
    parts: npt.NDArray[Any] = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask), True))
    return parts


def choose_slices(labels: Labels, interval: int, beyond: int = 0) -> npt.NDArray[np.intp]:
    """Positions of every `interval`-th labelled slice of (D, H, W) labels, at least one if any slice is labelled.

    They are centred: as many labelled slices are left out before the first as after the last. `beyond` more follow on
    either side of the labelled slices, where there are any.
    """
    labelled = np.flatnonzero([plane.any() for plane in labels])
    chosen = labelled[max(0, len(labelled) - 1) % interval // 2 :: interval]
    if len(labelled):
        outside = np.concatenate([labelled[0] - 1 - np.arange(beyond), labelled[-1] + 1 + np.arange(beyond)])
        chosen = np.union1d(chosen, outside[(outside >= 0) & (outside < len(labels))])
    return chosen


def shrink(image: Pixels, labels: Labels, longest: int) -> tuple[Pixels, Labels]:
    """Shrink image (H, W) or (H, W, 3) and labels (H, W) to a longest side of `longest`, by the network's geometry."""
    if max(labels.shape) <= longest:
        return image, labels
    geometry = Geometry.of(labels.shape, longest)
    size = (geometry.new_width, geometry.new_height)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small, cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint16, copy=False)


def _encode(image: npt.NDArray[Any], suffix: str, *settings: int) -> bytes:
    """A picture file of (H, W) uint8 or uint16, or of (H, W, 3) RGB uint8."""
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image, settings)
    if not done:
        raise ImageError(f"image: OpenCV cannot encode {image.dtype} of shape {image.shape}")
    return data.tobytes()
