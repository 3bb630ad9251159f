"""An image in memory: its pixels, and what its file says about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from medsam_edge.modality import Modality


@dataclass(frozen=True)
class Frame:
    """Where a medical image lies in the patient: SimpleITK's order (x, y[, z]), LPS coordinates, in mm.

    Attributes:
        spacing_mm: distance between neighbouring voxels along each axis.
        origin_mm: centre of the first voxel.
        direction: (n, n) direction matrix, row by row; each column is the unit vector of an axis.
        dicom_files: absolute paths of the DICOM files of the image, in the order of its slices; empty for other files.
        dicom_frames: of one DICOM file with several frames, the number of each slice's frame, from 0; empty where they
            are in the file's order.
        nifti: what a NIfTI file says of its geometry, as numbers in the order of its header (`NIFTI_FORMS` in
            `medsam_edge.reading.headers`); a label map for it gets the same. Empty for other files.
        has_spacing: False where a DICOM file does not say how large a pixel is; 1 mm then stands in for it.
    """

    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    dicom_files: tuple[Path, ...] = ()
    dicom_frames: tuple[int, ...] = ()
    has_spacing: bool = True
    nifti: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class LateArray:
    """A picture that is made when it is asked for.

    Attributes:
        shape: its (H, W).
        make: makes it, (H, W) or (H, W, 3), read-only; can be pickled.
    """

    shape: tuple[int, int]
    make: Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image and what its file says about it.

    Attributes:
        pixels: (H, W), (H, W, 3) RGB or (D, H, W), in the file's own values (CT in HU); read-only from `read_image`.
        frame: geometry of a medical file, else None.
        modality: modality in a DICOM header, else None.
        boxes: prompts of a challenge npz, else None: (N, 4), or (N, 6) with an exclusive z1, where the file stores the
            last slice.
        color: whether the file declares the last axis as RGB; None for arrays and npz, whose boxes decide.
        read_ms: milliseconds that reading the file took.
        whole: the whole picture, where `pixels` are the same picture at a fraction of its size, else None; only
            `medsam_edge.reading.read.load_image` gives one.
    """

    pixels: npt.NDArray[Any]
    frame: Frame | None = None
    modality: Modality | None = None
    boxes: npt.NDArray[Any] | None = None
    color: bool | None = None
    read_ms: float = 0.0
    whole: LateArray | None = None

    def in_full(self) -> LoadedImage:
        """Itself, or the whole picture of a reduced one."""
        return replace(self, pixels=self.whole.make(), whole=None) if self.whole else self
