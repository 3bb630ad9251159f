"""Golden vectors for the C++ library: `python -m tests.sdk.cpp.golden OUT`, or `make cpp`.

Each case is a folder: what is given (`case.json`, `image.npy`, `prior.npy`), and what the sdk makes of it at each stage
(`display.npy`, `input.npy`, `embedding.npy`, `logits_OBJECT_SLICE.npy`, `masks.npy`, `labels.npy` of both overlaps).
They are made on the machine that tests them, because processors differ in the last bits.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge import Segmentation, Segmenter, VolumeSegmentation
from medsam_edge.geometry import Geometry
from medsam_edge.networks.bundle import packaged_bundle
from medsam_edge.settings import Overlap
from tests.sdk.cpp.bundles import write_class_bundle, write_prompted_bundle
from tests.sdk.cpp.cases import pictures, volumes
from tests.sdk.tiny_bundle import write_tiny_bundle

RESIZED = 120


@dataclass
class Case:
    """One call of `segment`, and the clicks of a `refine` after it."""

    name: str
    bundle: str
    image: npt.NDArray[Any]
    given: Mapping[str, Any]
    refine: Mapping[str, Any] = field(default_factory=dict)


def write_case(folder: Path, case: Case, segmenter: Segmenter, bundle: Path) -> None:
    folder.mkdir(parents=True)
    given = dict(case.given)
    volume = given.pop("volume", False)
    prior = given.pop("prior", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        boxes = given.pop("boxes", None)
        boxes = np.zeros((0, 6 if volume else 4)) if boxes is not None and not len(boxes) else boxes
        result: Any = segmenter.segment(case.image, boxes, prior=prior, **given)
        if case.refine:
            result = segmenter.refine(result, **case.refine)
    np.save(folder / "image.npy", np.ascontiguousarray(case.image))
    if prior is not None:
        np.save(folder / "prior.npy", np.ascontiguousarray(prior))
    found = stages(folder, result, segmenter)
    described = {
        **given,
        **{f"refine_{name}": value for name, value in case.refine.items()},
        "bundle": str(bundle),
        "boxes": boxes,
        "volume": volume,
        "found": found,
        "used": result.boxes,
        "modality_found": result.modality,
        "scores": result.scores,
    }
    (folder / "case.json").write_text(json.dumps(described, default=plain, indent=1), encoding="utf-8")


def stages(folder: Path, result: Segmentation | VolumeSegmentation, segmenter: Segmenter) -> list[dict[str, Any]]:
    """Write what the result was made of; return where each object was looked for."""
    np.save(folder / "display.npy", result.display)
    masks = [result.mask(index) for index in range(len(result))]
    ways: tuple[Overlap, ...] = ("later", "score")
    np.save(folder / "labels.npy", np.stack([replace(result, overlap=overlap).label_map for overlap in ways]))
    np.save(folder / "masks.npy", np.array(masks, dtype=np.uint8).reshape(len(result), *result.shape))
    found = []
    for index in range(len(result)):
        if isinstance(result, VolumeSegmentation):
            known = {z: (own, result.slice_scores[index, z]) for z, own in result.logits[index].items()}
        else:
            known = {0: (result.logits[index], result.scores[index])}
        for z, (own, score) in known.items():
            if own.values.size:
                np.save(folder / f"logits_{index}_{z}.npy", own.values)
            place = {"top": own.top, "left": own.left, "view": own.view}
            found.append({"object": index, "slice": z, "score": score, **place})
    if found:
        write_input(folder, result, found[0], segmenter)
    return found


def write_input(
    folder: Path, result: Segmentation | VolumeSegmentation, first: dict[str, Any], segmenter: Segmenter
) -> None:
    """The network's input and the embedding of the first view."""
    shown = result.display
    if isinstance(result, VolumeSegmentation):
        shown = np.moveaxis(shown, result.axis, 0)[first["slice"]]
    top, left, bottom, right = first["view"]
    part = shown[top:bottom, left:right]
    geometry = Geometry.of(part.shape, segmenter.model.image_size)
    np.save(folder / "input.npy", geometry.image_to_network(part))
    np.save(folder / "embedding.npy", segmenter.predictor.embed(part).features)


def plain(value: Any) -> Any:
    """For JSON, which has no NaN: null."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, (np.floating, float)):
        return None if np.isnan(value) else float(value)
    return int(value)


def write_resized(folder: Path) -> None:
    """Random images of random shapes, and what OpenCV makes of them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(RESIZED):
        height, width = rng.integers(1, 700, 2).tolist()
        size = int(rng.choice([64, 256, 512]))
        if number % 6 == 0:  # whole multiples have arithmetic of their own
            height, width = size * (1 + number % 3), size * (1 + number % 2)
        geometry = Geometry(height, width, size)
        if number % 4 == 3:
            image: npt.NDArray[Any] = rng.random((height, width), dtype=np.float32)
            how = cv2.INTER_AREA if geometry.scale <= 1 else cv2.INTER_LINEAR
            small = cv2.resize(image, (geometry.new_width, geometry.new_height), interpolation=how)
        else:
            image = rng.integers(0, 256, (height, width, 3)[: 2 + number % 2], dtype=np.uint8)
            small = geometry.resize(image)
        np.save(folder / f"{number}_image.npy", image)
        np.save(folder / f"{number}_small.npy", small)


def write_halves(folder: Path) -> None:
    """Floats of every size, and the same in half precision."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    some = (rng.normal(size=50000) * 10.0 ** rng.uniform(-9, 6, 50000)).astype(np.float32)
    values = np.concatenate([every[np.isfinite(every)], some])
    np.save(folder / "floats.npy", values)
    with np.errstate(over="ignore"):
        np.save(folder / "halves.npy", values.astype(np.float16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out.resolve()  # cases name their bundles from here: tests run elsewhere
    bundles = {
        "tiny": write_tiny_bundle(out / "bundles" / "tiny"),
        "classes": write_class_bundle(out / "bundles" / "classes"),
        "prompted": write_prompted_bundle(out / "bundles" / "prompted"),
        "packaged": packaged_bundle(),
    }
    write_resized(out / "resized")
    write_halves(out / "halves")
    segmenters = {name: Segmenter(path, num_threads=2) for name, path in bundles.items()}
    for name, bundle, image, given, refine in (*pictures(), *volumes()):
        case = Case(name, bundle, image, given, refine)
        write_case(out / "cases" / f"{bundle}_{name}", case, segmenters[bundle], bundles[bundle])


if __name__ == "__main__":
    main()
