"""What a caller may choose, beside image, boxes and modality, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from medsam_edge.detail import Detail, View, check_detail, views
from medsam_edge.errors import InputError
from medsam_edge.geometry import FloatArray
from medsam_edge.propagation import Compat, rule_of
from medsam_edge.result import Overlap, check_overlap

Axis = Literal["axial", "coronal", "sagittal", 0, 1, 2]
Progress = Callable[[int, int], bool | None]
AXES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Settings:
    """How boxes are looked for in a picture or a volume; see `Segmenter.segment`."""

    axis: Axis = 0
    streams: int = 1
    stop_when_empty: bool = False
    progress: Progress | None = None
    compat: Compat | None = None
    overlap: Overlap = "later"
    detail: Detail = "auto"

    def __post_init__(self) -> None:
        if self.axis not in (*AXES, 0, 1, 2) or isinstance(self.axis, bool):
            raise InputError(f"axis: expected axial, coronal, sagittal, 0, 1 or 2, got {self.axis!r}")
        if not isinstance(self.streams, int) or isinstance(self.streams, bool) or not 0 <= self.streams <= 64:
            raise InputError(f"streams: expected a whole number from 0 to 64, got {self.streams!r}")
        rule_of(self.compat)
        check_overlap(self.overlap)
        check_detail(self.detail)

    def views(self, boxes: FloatArray, shape: tuple[int, ...], size: int) -> list[View]:
        """Where to look for each box of a slice of this shape; the published scripts always look at the whole."""
        return views(boxes, shape[0], shape[1], size, "image" if self.compat else self.detail)

    @property
    def array_axis(self) -> int:
        return AXES.index(self.axis) if isinstance(self.axis, str) else int(self.axis)
