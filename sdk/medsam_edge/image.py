"""What reading an image gives: its pixels, and what its file knows about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from medsam_edge.modality import Modality


@dataclass(frozen=True)
class Frame:
    """Where a medical image lies in the patient, in SimpleITK's order (x, y[, z]) and in mm.

    `dicom_files` are the absolute paths it was read from, in the order of its slices; none where they were no DICOM.
    """

    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    dicom_files: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image and what its file knows about it.

    Attributes:
        pixels: (H, W), (H, W, 3) RGB or (D, H, W), in the file's own values (CT in HU).
        frame: of a medical file, else None.
        modality: as a DICOM header says, else None.
        boxes: prompts that a challenge npz carries, else None: (N, 4), or (N, 6) with all far edges exclusive (the file
            itself has the last slice in the place of z1).
        color: whether the file or SimpleITK says that the last axis is RGB; None of arrays and npz, where boxes decide.
        read_ms: milliseconds that reading the file took.
    """

    pixels: npt.NDArray[Any]
    frame: Frame | None = None
    modality: Modality | None = None
    boxes: npt.NDArray[Any] | None = None
    color: bool | None = None
    read_ms: float = 0.0
