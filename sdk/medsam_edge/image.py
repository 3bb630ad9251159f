"""What reading an image gives: its pixels and what its file knows about them; and what no file may ask for."""

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
        boxes: prompts that a challenge npz carries, else None: (N, 4) as they are, (N, 6) with z1 exclusive, where the
            file has the last slice. `compat="rep-medsam"` adds that slice itself: give it the file's own numbers.
        color: whether the file or SimpleITK says that the last axis is RGB; None of arrays and npz, where boxes decide.
    """

    pixels: npt.NDArray[Any]
    frame: Frame | None = None
    modality: Modality | None = None
    boxes: npt.NDArray[Any] | None = None
    color: bool | None = None
