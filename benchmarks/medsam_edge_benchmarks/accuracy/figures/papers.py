"""What the papers of the challenge print: mean DSC and NSD in percent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """(DSC, NSD) on the challenge's validation and test sets; None where nothing is printed."""

    system: str
    validation: tuple[float, float]
    test: tuple[float, float] | None = None


PUBLISHED = (
    Published("LiteMedSAM (baseline)", (83.2, 82.7), (78.64, 80.58)),
    Published("Rep-MedSAM", (85.90, 87.07), (82.44, 84.43)),
    Published("class-prompt TinyViT", (86.89, 88.04)),
    Published("MedficientSAM-L1", (86.42, 87.95)),
    Published("DAFT", (88.07, 89.16), (83.29, 85.59)),
    Published("QMedSAM int8", (83.51, 86.11), (78.28, 79.83)),
)
WARNING = (
    "These are not comparable: the papers' data, splits and boxes are others than those measured here. The challenge's "
    "rule is the one they were computed by."
)
