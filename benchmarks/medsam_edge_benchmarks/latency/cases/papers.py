"""The fourteen cases of the papers' tables, and a large one of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medsam_edge.errors import InputError
from medsam_edge.modality import Modality


@dataclass(frozen=True)
class PaperSeconds:
    """What the papers print for a case, on their machines; None where they print nothing."""

    lite_medsam: float
    rep_medsam: float
    rep_medsam_fused: float
    updated_script: float | None = None


@dataclass(frozen=True)
class LatencyCase:
    """One row of the papers' tables, or one like it.

    Attributes:
        shape: (H, W) of an RGB image, or (D, H, W) of a volume.
        paper: None for a case that is not in the papers.
        scanner: whether the file is as a scanner gives it, HU in an mha file, and not the challenge's 8-bit npz.
    """

    name: str
    modality: Modality
    shape: tuple[int, ...]
    objects: int
    paper: PaperSeconds | None
    scanner: bool = False


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
    """The cases of these names, in the order of the table.

    Raises:
        InputError: a name that is not in the table.
    """
    known = {case.name: case for case in (*CASES, WHOLE_BODY)}
    for name in names:
        if name not in known:
            raise InputError(f"--cases: expected some of {' '.join(known)}, got {name!r}")
    return tuple(case for name, case in known.items() if name in names)
