"""int8 by NNCF's post-training quantization, with what calibrates it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino as ov

from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.geometry import Geometry
from medsam_edge.intensity import to_display
from medsam_edge.io import PICTURE_SUFFIXES, read_image
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom
from medsam_edge_train.data import find_cases, read_case

PHANTOMS = "phantoms"
CALIBRATION_IMAGES = 300
PHANTOMS_PER_MODALITY = 4
CLASS_HEAD = ".*class_prediction_head.*"
"""Nodes of networks with class prompts: int8 would double the error of their probabilities and save nothing."""


@dataclass(frozen=True)
class CalibrationSet:
    """Images that show the quantizer the range of every activation.

    Attributes:
        source: where they come from, for the manifest.
        images: (3, S, S) float32 each, as the sdk prepares them.
    """

    source: str
    images: Sequence[npt.NDArray[np.float32]]


def calibration_set(source: str, image_size: int, count: int = CALIBRATION_IMAGES) -> CalibrationSet:
    """At most `count` images, evenly spread: pictures of a folder tree (`masks` folders left out), shards, or phantoms.

    Raises:
        FileMissingError: the folder does not exist.
        ImageError: it holds no picture, or one cannot be read.
    """
    if source == PHANTOMS:
        images = [_prepare(image, modality, image_size) for image, modality in _phantoms()]
        return CalibrationSet(f"{len(images)} phantoms", images)
    root = Path(source)
    if not root.is_dir():
        raise FileMissingError(f"calibration: expected a folder or '{PHANTOMS}', got {source}")
    files = [
        file
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in PICTURE_SUFFIXES and not any(part.startswith("mask") for part in file.parts)
    ]
    cases = find_cases(root) if any(root.glob("*.tar")) else []
    total = len(files) + len(cases)
    if not total:
        raise ImageError(f"calibration: found no picture in {source}")
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    pixels = (
        read_image(files[index]).pixels if index < len(files) else read_case(cases[index - len(files)])[0]
        for index in chosen
    )
    images = [_prepare(image, None, image_size) for image in pixels]
    return CalibrationSet(f"{len(images)} of {total} images", images)


def quantize(encoder: ov.Model, calibration: CalibrationSet) -> ov.Model:
    """The encoder with int8 weights and activations.

    Weights use seven of their eight bits: processors without VNNI add pairs of int8 products in 16 bits, which saturate
    with eight, so that one bundle gives the same masks on old and new machines. `CLASS_HEAD`
    stays in floating point.
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.WARNING)
    dataset = nncf.Dataset([image[None] for image in calibration.images])
    quantized: ov.Model = nncf.quantize(
        encoder,
        dataset,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(calibration.images),
        ignored_scope=nncf.IgnoredScope(patterns=[CLASS_HEAD], validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.quantization.advanced_parameters.OverflowFix.ENABLE
        ),
    )
    return quantized


def _phantoms() -> Iterator[tuple[npt.NDArray[np.generic], Modality]]:
    for modality in Modality:
        for seed in range(PHANTOMS_PER_MODALITY):
            yield phantom(modality, seed=1000 + seed).image, modality


def _prepare(image: npt.NDArray[np.generic], modality: Modality | None, image_size: int) -> npt.NDArray[np.float32]:
    return Geometry.of(image.shape[:2], image_size).image_to_network(to_display(image, modality))
