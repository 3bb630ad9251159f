"""A case drawn as a phantom of the same size and number of objects: a file and boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medsam_edge.geometry import FloatArray
from medsam_edge.intensity import to_display
from medsam_edge.modality import Modality
from medsam_edge.phantom import Phantom, phantom, phantom_volume
from medsam_edge.writing.whole import replacing
from medsam_edge_benchmarks.latency.cases.papers import LatencyCase


@dataclass(frozen=True, eq=False)
class DrawnCase:
    """A case as a file, with prompts.

    Attributes:
        modality: as told to networks and intensity rules.
        file: challenge npz, `imgs` uint8, (H, W, 3) or (D, H, W); or a scanner's volume.
        boxes: tight, in pixels, far edges exclusive: (N, 4) x0, y0, x1, y1, or (N, 6) x0, y0, z0, x1, y1, z1.
    """

    modality: Modality
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
    are), so that every variant reads the same file.

    Raises:
        InputError: the objects do not fit a picture of this size.
    """
    if len(case.shape) == 3:
        depth, height, width = case.shape
        truth = phantom_volume(case.modality, (depth, height, width), objects=case.objects)
    else:
        height, width = case.shape
        truth = phantom(case.modality, (height, width), objects=case.objects)
    if case.scanner:
        return DrawnCase(case.modality, _write_scan(truth, folder / f"{case.name}.mha"), truth.boxes)
    pixels = truth.image if truth.image.shape[-1] == 3 else truth.image.reshape(-1, width)  # a volume as one tall slice
    image = to_display(pixels, case.modality).reshape(truth.image.shape)
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)  # the challenge's images have three channels, grey or not
    file = folder / f"{case.name}.npz"
    with replacing(file) as partial:
        np.savez_compressed(partial, imgs=image)
    return DrawnCase(case.modality, file, truth.boxes)


def _write_scan(truth: Phantom, file: Path) -> Path:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(truth.image)
    image.SetSpacing(truth.spacing_mm[::-1])
    with replacing(file) as partial:
        sitk.WriteImage(image, str(partial))
    return file
