"""The fourteen cases of the papers' tables and a large one of ours, each drawn as a phantom: a file and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medsam_edge.errors import InputError
from medsam_edge.geometry import FloatArray
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import phantom, phantom_volume
from medsam_edge.writing.whole import replacing


@dataclass(frozen=True)
class PaperSeconds:
    """What the papers print for a case, on their machines; None where they print nothing."""

    lite_medsam: float
    rep_medsam: float
    rep_medsam_fused: float
    updated_script: float | None = None


@dataclass(frozen=True)
class LatencyCase:
    """One row of the papers' tables, or one like it."""

    name: str
    modality: Modality
    shape: tuple[int, ...]  # (H, W) of an RGB image, or (D, H, W) of a volume
    objects: int
    paper: PaperSeconds | None  # None for a case that is not in the papers
    scanner: bool = False  # the file is as a scanner gives it, HU in an mha file, and not the challenge's 8-bit npz


CASES = (
    LatencyCase("CT_0566", Modality.CT, (287, 512, 512), 6, PaperSeconds(436.97, 247.97, 194.22, 73.64)),
    LatencyCase("CT_0888", Modality.CT, (237, 512, 512), 6, PaperSeconds(115.53, 66.78, 53.44, 25.09)),
    LatencyCase("CT_0860", Modality.CT, (246, 512, 512), 1, PaperSeconds(16.60, 9.95, 7.96, 6.24)),
    LatencyCase("MR_0621", Modality.MR, (115, 400, 400), 6, PaperSeconds(174.80, 102.65, 80.45, 25.81)),
    LatencyCase("MR_0121", Modality.MR, (64, 290, 320), 6, PaperSeconds(119.09, 66.01, 54.62, 16.16)),
    LatencyCase("MR_0179", Modality.MR, (84, 512, 512), 1, PaperSeconds(14.89, 8.79, 7.22, 5.44)),
    LatencyCase("PET_0001", Modality.PET, (264, 200, 200), 1, PaperSeconds(8.94, 5.56, 4.86)),
    LatencyCase("US_0525", Modality.US, (256, 256), 1, PaperSeconds(0.88, 0.47, 0.37)),
    LatencyCase("X-Ray_0053", Modality.XRAY, (320, 640), 34, PaperSeconds(2.19, 1.77, 1.59)),
    LatencyCase("Dermoscopy_0003", Modality.DERMOSCOPY, (3024, 4032), 1, PaperSeconds(1.50, 1.15, 0.98)),
    LatencyCase("Endoscopy_0086", Modality.ENDOSCOPY, (480, 560), 1, PaperSeconds(0.88, 0.50, 0.42)),
    LatencyCase("Fundus_0003", Modality.FUNDUS, (2048, 2048), 1, PaperSeconds(0.89, 0.62, 0.48)),
    LatencyCase("Microscope_0008", Modality.MICROSCOPY, (1536, 2040), 19, PaperSeconds(1.81, 1.50, 1.44)),
    LatencyCase("Microscope_0016", Modality.MICROSCOPY, (1920, 2560), 241, PaperSeconds(14.47, 13.79, 13.66)),
)

WHOLE_BODY = LatencyCase("CT_1000", Modality.CT, (1000, 512, 512), 6, None, scanner=True)
"""What a laptop's memory must be enough for. Only run when asked for."""


def choose(names: Sequence[str]) -> tuple[LatencyCase, ...]:
    """The cases of these names, in the order of the table."""
    known = {case.name: case for case in (*CASES, WHOLE_BODY)}
    for name in names:
        if name not in known:
            raise InputError(f"--cases: expected some of {' '.join(known)}, got {name!r}")
    return tuple(case for name, case in known.items() if name in names)


@dataclass(frozen=True, eq=False)
class DrawnCase:
    """A case as a file, with prompts.

    The file is a challenge npz, `imgs` uint8, (H, W, 3) or (D, H, W); or a scanner's volume. The boxes are tight, in
    pixels, far edges exclusive: (N, 4) x0, y0, x1, y1, or (N, 6) x0, y0, z0, x1, y1, z1.
    """

    modality: Modality  # as told to networks and intensity rules
    file: Path
    boxes: FloatArray

    @property
    def is_volume(self) -> bool:
        return len(self.boxes[0]) == 6

    @property
    def masks(self) -> int:
        """Boxes to decode: one per object, and in a volume one per object and slice that its box spans."""
        return int((self.boxes[:, 5] - self.boxes[:, 2]).sum()) if self.is_volume else len(self.boxes)

    @property
    def slices(self) -> int:
        """Slices that any box spans; 1 for an image."""
        return len({z for box in self.boxes for z in range(int(box[2]), int(box[5]))}) if self.is_volume else 1

    def part(self, slices: int, boxes: int) -> DrawnCase:
        """Less work of the same kind: the middle `slices` of a volume's first object, or an image's first `boxes`."""
        if not self.is_volume:
            return replace(self, boxes=self.boxes[:boxes])
        first = self.boxes[:1].copy()
        low, high = int(first[0, 2]), int(first[0, 5])
        start = max(low, (low + high - slices) // 2)
        first[0, [2, 5]] = start, min(high, start + slices)
        return replace(self, boxes=first)


def draw(case: LatencyCase, folder: Path) -> DrawnCase:
    """Draw a case into `folder`. Values become 8 bits here, as in the challenge's files (but a scanner's stay as they
    are), so that every variant reads the same file."""
    *depth, height, width = case.shape
    if depth:
        truth = phantom_volume(case.modality, (depth[0], height, width), objects=case.objects)
    else:
        truth = phantom(case.modality, (height, width), objects=case.objects)
    file = folder / f"{case.name}{'.mha' if case.scanner else '.npz'}"
    with replacing(file) as partial:
        if case.scanner:
            import SimpleITK as sitk

            scan = sitk.GetImageFromArray(truth.image)
            scan.SetSpacing(truth.spacing_mm[::-1])
            sitk.WriteImage(scan, str(partial))
        else:
            color = truth.image.shape[-1] == 3
            pixels = truth.image if color else truth.image.reshape(-1, width)  # a volume as one tall slice
            image = to_display(pixels, case.modality).reshape(truth.image.shape)
            if image.ndim == 2:  # the challenge's images have three channels, grey or not
                image = np.repeat(image[:, :, None], 3, axis=2)
            np.savez_compressed(partial, imgs=image)
    return DrawnCase(case.modality, file, truth.boxes)
