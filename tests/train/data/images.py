"""Images, cases and shards that tests make."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from medsam_edge.modality import Modality
from medsam_edge_train.data.cases import Case, Labels, Pixels
from medsam_edge_train.data.shards import Blob


def discs(height: int = 60, width: int = 80, values: Sequence[int] = (1, 2)) -> tuple[Pixels, Labels]:
    """A grey gradient with one brighter disc for each value, side by side."""
    labels = np.zeros((height, width), dtype=np.uint16)
    step = width // max(1, len(values))
    for index, value in enumerate(values):
        cv2.circle(labels, (step * index + step // 2, height // 2), min(step, height) // 3, value, -1)
    image = np.linspace(20, 120, height * width).reshape(height, width) + 100 * (labels > 0)
    return image.astype(np.uint8), labels.astype(np.int32)


def write_case(root: Path, name: str, image: npt.NDArray[np.generic], labels: npt.NDArray[np.generic]) -> Case:
    """name: <Modality>/<dataset>/<file name of the image>."""
    modality, dataset, file = name.split("/")
    for part, data in (("images", image), ("masks", labels.astype(np.uint16))):
        path = root / modality / dataset / part / (file if part == "images" else f"{Path(file).stem}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), data)
    found = Modality.parse(modality)
    assert found is not None
    folder = root / modality / dataset
    stem = Path(file).stem
    image_blob, mask_blob = Blob(folder / "images" / file), Blob(folder / "masks" / f"{stem}.png")
    return Case(image_blob, mask_blob, found, dataset, f"{modality}/{dataset}/{stem}")


def named_case(modality: Modality, index: int) -> Case:
    return Case(Blob(Path(f"{index}.png")), Blob(Path(f"{index}.png")), modality, "a", str(index))


UNEVEN_CASES = (
    [named_case(Modality.CT, i) for i in range(90)]
    + [named_case(Modality.US, i) for i in range(9)]
    + [named_case(Modality.CT, 0)._replace(dataset="small")]
)


def png(image: npt.NDArray[np.generic]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def shard_sample(value: int = 7, about: object = None) -> dict[str, bytes]:
    """A 4 × 6 grey image, and a label map of the one value on its left half."""
    labels = np.zeros((4, 6), np.uint16 if value > 255 else np.uint8)
    labels[:, :3] = value
    image = np.arange(24, dtype=np.uint8).reshape(4, 6)
    about = {"modality": "CT", "dataset": "liver"} if about is None else about
    return {"image.png": png(image), "mask.png": png(labels), "json": json.dumps(about).encode()}
