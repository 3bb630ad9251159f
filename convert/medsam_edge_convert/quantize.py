"""int8 by NNCF's post-training quantization, with what calibrates it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import openvino as ov

from medsam_edge import Segmenter
from medsam_edge.errors import FileMissingError, ImageError
from medsam_edge.geometry import Geometry
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.networks.engine import off_main_thread
from medsam_edge.networks.model import Arrays, Model
from medsam_edge.phantom import phantom
from medsam_edge.reading.read import read_image
from medsam_edge.reading.suffixes import PICTURE_SUFFIXES
from medsam_edge_convert.accuracy import by_modality, evenly, score_cases
from medsam_edge_convert.gate import OBJECTS, Gate
from medsam_edge_train.data.cases import Case, find_cases, read_case

PHANTOMS = "phantoms"
CALIBRATION_IMAGES = 300
PHANTOMS_PER_MODALITY = 4
RANKING_IMAGES = 24
CLASS_HEAD = ".*class_prediction_head.*"
"""Nodes of networks with class prompts: int8 would double the error of their probabilities and save nothing."""


@dataclass(frozen=True)
class CalibrationSet:
    """Images that show the quantizer the range of every activation."""

    source: str  # where they come from, for the manifest
    images: Sequence[npt.NDArray[np.float32]]  # (3, S, S) each, as the sdk prepares them


def calibration_set(source: str, image_size: int, count: int = CALIBRATION_IMAGES) -> CalibrationSet:
    """At most `count` images, evenly spread: pictures of a folder tree (`masks` and `labels` left out), of shards, or
    phantoms.

    Raises:
        FileMissingError: the folder does not exist.
        ImageError: it holds no picture, or one cannot be read, or it has shards in train/.
    """
    if source == PHANTOMS:
        images = [
            _prepare(phantom(modality, seed=1000 + seed).image, modality, image_size)
            for modality in Modality
            for seed in range(PHANTOMS_PER_MODALITY)
        ]
        return CalibrationSet(f"{len(images)} phantoms", images)
    root = Path(source)
    if not root.is_dir():
        raise FileMissingError(f"calibration: expected a folder or '{PHANTOMS}', got {source}")
    found: list[Path | Case] = [
        file
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in PICTURE_SUFFIXES
        and not any(part.startswith(("mask", "labels")) for part in file.relative_to(root).parts)
    ]
    found += find_cases(root) if any(root.glob("*.tar")) else []
    if any(root.glob("train/*.tar")):  # or the pictures would be those of `train prepare`'s report
        raise ImageError(f"calibration: {source} has shards in train and val, give one of them: {root / 'train'}")
    if not found:
        raise ImageError(f"calibration: found no picture in {source}")
    chosen = evenly(found, count)
    pixels = (read_image(item).pixels if isinstance(item, Path) else read_case(item)[0] for item in chosen)
    images = [_prepare(image, None, image_size) for image in pixels]
    return CalibrationSet(f"{len(images)} of {len(found)} images", images)


def quantize(encoder: ov.Model, calibration: CalibrationSet) -> ov.Model:
    """The encoder with int8 weights and activations.

    Weights use seven of their eight bits: processors without VNNI add pairs of int8 products in 16 bits, which saturate
    with eight, so that one bundle gives the same masks on old and new machines. `CLASS_HEAD` stays in floating point.
    """
    import nncf

    dataset, seven_bits, settings = _nncf(calibration)
    with redirect_stdout(sys.stderr):  # its progress; results alone go to stdout
        model = off_main_thread(nncf.quantize, encoder, dataset, advanced_parameters=seven_bits, **settings)
    return cast(ov.Model, model)


def quantize_with_control(encoder: ov.Model, calibration: CalibrationSet, exact: Model, gate: Gate) -> ov.Model:
    """`quantize`, then the layers that cost the most accuracy go back to floating point, until the gate's mean holds
    (NNCF's accuracy control). Layers are ranked on `RANKING_IMAGES` of the gate's images, so that it takes minutes.

    Args:
        exact: the f32 model, whose decoder turns embeddings into masks.
    """
    import nncf

    def validate(compiled: ov.CompiledModel, cases: Iterable[Case]) -> tuple[float, list[float]]:
        segmenter = Segmenter(replace(exact, encoder=_Compiled(compiled)), cache_bytes=0)
        scores = score_cases({"own": segmenter}, list(cases), objects=OBJECTS)
        by_image: dict[str, list[float]] = {}
        for score in scores:
            by_image.setdefault(score.case.key, []).append(score.dsc["own"])
        return by_modality(scores)["mean"]["own"], [float(np.mean(own)) for own in by_image.values()]

    dataset, seven_bits, settings = _nncf(calibration)
    ranking = nncf.AdvancedAccuracyRestorerParameters(ranking_subset_size=RANKING_IMAGES)
    with redirect_stdout(sys.stderr):
        model = off_main_thread(
            nncf.quantize_with_accuracy_control,
            encoder,
            calibration_dataset=dataset,
            validation_dataset=nncf.Dataset(gate.cases()),
            validation_fn=validate,
            max_drop=gate.max_drop,
            drop_type=nncf.DropType.ABSOLUTE,
            advanced_quantization_parameters=seven_bits,
            advanced_accuracy_restorer_parameters=ranking,
            **settings,
        )
    return cast(ov.Model, model)


class _Compiled:
    """A compiled encoder behind the sdk's `Network` protocol."""

    effective_precision = "int8"

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled

    def infer(self, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        return {port.any_name: np.array(value) for port, value in self._compiled(dict(inputs)).items()}


def _nncf(calibration: CalibrationSet) -> tuple[Any, Any, dict[str, Any]]:
    """NNCF's data set, its parameters for weights of seven bits, and the settings of both ways to quantize."""
    import nncf

    logging.getLogger("nncf").setLevel(logging.WARNING)
    dataset = nncf.Dataset([image[None] for image in calibration.images])
    overflow_fix = nncf.quantization.advanced_parameters.OverflowFix.ENABLE
    settings = {
        "preset": nncf.QuantizationPreset.MIXED,
        "subset_size": len(calibration.images),
        "ignored_scope": nncf.IgnoredScope(patterns=[CLASS_HEAD], validate=False),
    }
    return dataset, nncf.AdvancedQuantizationParameters(overflow_fix=overflow_fix), settings


def _prepare(image: npt.NDArray[np.generic], modality: Modality | None, image_size: int) -> npt.NDArray[np.float32]:
    return Geometry.of(image.shape[:2], image_size).image_to_network(to_display(image, modality))
