"""Folders to prepare, and what became of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from medsam_edge_train.data.cases import Case, find_cases
from medsam_edge_train.prepare.config import PrepareConfig
from medsam_edge_train.prepare.prepare import prepare

Array = npt.NDArray[Any]


def square(values: tuple[int, ...] = (1,), side: int = 64) -> Array:
    """Labels (side, side): one 16 × 16 square per value along the diagonal."""
    labels = np.zeros((side, side), np.uint16)
    for index, value in enumerate(values):
        labels[16 * index : 16 * index + 16, 16 * index : 16 * index + 16] = value
    return labels


def picture(root: Path, name: str, labels: Array | None = None, image: Array | None = None) -> None:
    """name: <folders>/<stem>."""
    labels = square() if labels is None else labels
    image = np.full(labels.shape, 90, np.uint8) + 50 * (labels > 0).astype(np.uint8) if image is None else image
    path = root / name
    for folder, array in (("images", image), ("masks", labels)):
        (path.parent / folder).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path.parent / folder / f"{path.name}.png"), array)


def volume(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def dicom_series(folder: Path, array: Array, modality: str = "CT") -> None:
    """One file per slice of (D, H, W) int16, 2 mm apart, written in reversed order of their names."""
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z, plane in enumerate(array):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing((1.0, 1.0, 2.0))
        tags = {
            "0008|0060": modality,
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0020|000d": "1.2.3",
            "0020|000e": "1.2.3.4",
            "0020|0013": str(z),
            "0020|0032": f"0\\0\\{2 * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0018": f"1.2.3.4.{z}",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        image.SetOrigin((0, 0, 2.0 * z))
        writer.SetFileName(str(folder / f"{len(array) - z:03d}.dcm"))
        writer.Execute(image)


def run(root: Path, output: Path, **settings: Any) -> dict[str, Case]:
    """Prepare without leaving anything out, unless told; the cases by split and key."""
    settings = {"interval": 1, "minimum_pixels": 0, "minimum_voxels": 0, **settings}
    prepare(PrepareConfig((root,), output, **settings))
    return cases_of(output)


def cases_of(output: Path) -> dict[str, Case]:
    splits = [split for split in ("train", "val") if list((output / split).glob("*.tar"))]
    return {f"{split}/{case.key}": case for split in splits for case in find_cases(output / split)}


def report_of(output: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return report


def reasons(output: Path) -> dict[str, str]:
    return {entry["source"]: entry["reason"] for entry in report_of(output)["skipped"]}


def bytes_of(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}
