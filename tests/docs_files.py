"""The files that the documentation's snippets name, small and synthetic."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk

from medsam_edge.intensity import to_display, volume_to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import Phantom, phantom, phantom_volume


def write_files(folder: Path) -> Path:
    """slice.png, scan.nii.gz, a DICOM series, folders of images with boxes and of challenge files, and a table."""
    volume = phantom_volume("CT", (10, 64, 64))
    _picture(folder / "slice.png", phantom("CT"))
    _volume(folder / "scan.nii.gz", volume)
    _series(folder / "series", volume)
    for number in (1, 2):
        drawn = phantom("US", seed=number)
        _picture(folder / "images" / f"{number}.png", drawn)
        boxes = folder / "boxes" / f"{number}.json"
        boxes.parent.mkdir(exist_ok=True)
        boxes.write_text(json.dumps(drawn.boxes.tolist()), encoding="utf-8")
    _challenge(folder / "challenge", volume)
    rows = ["image,boxes,modality", 'images/1.png,"[[60, 60, 180, 180]]",US', "images/2.png,boxes/2.json,"]
    (folder / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def _picture(path: Path, drawn: Phantom) -> None:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), to_display(drawn.image, drawn.modality))


def _volume(path: Path, drawn: Phantom) -> None:
    image = sitk.GetImageFromArray(drawn.image)
    image.SetSpacing(drawn.spacing_mm[::-1])
    image.SetOrigin((-250.0, -180.0, 40.0))
    sitk.WriteImage(image, str(path))


def _series(folder: Path, drawn: Phantom) -> None:
    from tests.sdk.dicoms import dataset, write

    folder.mkdir()
    step, row, column = drawn.spacing_mm
    for number, plane in enumerate(drawn.image):
        tags = {
            "ImagePositionPatient": [-250, -180, 40 + number * step],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [row, column],
            "SliceThickness": step,
            "InstanceNumber": number + 1,
        }
        write(folder / f"{number:03}.dcm", dataset(plane, **tags))


def _challenge(folder: Path, drawn: Phantom) -> None:
    folder.mkdir()
    boxes = drawn.boxes.astype(np.int64) - [0, 0, 0, 0, 0, 1]  # there z1 is the last slice
    image = volume_to_display(drawn.image, Modality.CT)
    np.savez_compressed(folder / "3DBox_CT_0001.npz", imgs=image, boxes=boxes, spacing=drawn.spacing_mm[::-1])
    flat = phantom("Dermoscopy")
    np.savez_compressed(folder / "2DBox_Dermoscopy_0002.npz", imgs=flat.image, boxes=flat.boxes.astype(np.int64))
