"""What a caller may choose beside image, boxes and modality: names only, the rules behind them live elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from medsam_edge.errors import InputError
from medsam_edge.intensity import Window

AxisName = Literal["axial", "coronal", "sagittal", "all"]
Axis = Literal[AxisName, 0, 1, 2]
BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
BoxSpace = Literal["pixel", "physical"]
Clean = Literal["none", "largest", "box"]
Compat = Literal["rep-medsam"]
Detail = Literal["auto", "image", "crop"]
Overlap = Literal["later", "score"]
Progress = Callable[[int, int], bool | None]

AXES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Settings:
    """How boxes are segmented in a picture or a volume. `Segmenter.segment` describes each field.

    Raises:
        InputError: a value that is not one of the names, or what does not go with `compat`.
    """

    box_space: BoxSpace = "pixel"
    overlap: Overlap = "later"
    axis: Axis = 0
    streams: int = 1
    stop_when_empty: bool = False
    progress: Progress | None = None
    compat: Compat | None = None
    detail: Detail = "auto"
    follow: bool = False
    keep_logits: bool = True
    reduced_jpeg: bool = False
    box_format: BoxFormat = "xyxy"
    clean: Clean = "none"

    def __post_init__(self) -> None:
        if self.axis not in get_args(Axis) or isinstance(self.axis, bool):
            raise InputError(f"axis: expected axial, coronal, sagittal, 0, 1, 2 or all, got {self.axis!r}")
        if self.axis == "all" and (self.follow or self.compat):
            raise InputError("axis: 'all' needs a box around each whole object, and no compat; name one axis")
        if not isinstance(self.streams, int) or isinstance(self.streams, bool) or not 0 <= self.streams <= 64:
            raise InputError(f"streams: expected a whole number from 0 to 64, got {self.streams!r}")
        if self.compat not in (None, *get_args(Compat)):
            raise InputError(f"compat: expected 'rep-medsam' or None, got {self.compat!r}")
        if self.follow and self.compat:
            raise InputError(f"follow: compat={self.compat!r} follows scripts that take the box of a whole object")
        check_choice("overlap", self.overlap, Overlap)
        check_choice("detail", self.detail, Detail)
        check_choice("box_space", self.box_space, BoxSpace)
        check_choice("clean", self.clean, Clean)
        check_choice("box_format", self.box_format, BoxFormat)
        if self.box_space == "physical" and self.compat is not None:
            raise InputError(f"box_space: compat={self.compat!r} follows scripts with boxes in pixels, got 'physical'")
        if self.clean != "none" and self.compat is not None:
            raise InputError(f"clean: compat={self.compat!r} keeps masks as they are, got {self.clean!r}")
        if self.reduced_jpeg and self.compat is not None:
            raise InputError(f"reduced_jpeg: compat={self.compat!r} follows scripts that decode in full, got True")

    @property
    def tiling(self) -> Detail:
        """`detail`; with `compat` always the whole image, because the published scripts have no tiles."""
        return "image" if self.compat else self.detail

    @property
    def array_axis(self) -> int:
        """The array axis of a result's slices: the first of `array_axes`."""
        return self.array_axes[0]

    @property
    def array_axes(self) -> tuple[int, ...]:
        """The array axes along which a volume is sliced."""
        if self.axis == "all":
            return 0, 1, 2
        return (AXES.index(self.axis) if isinstance(self.axis, str) else int(self.axis),)


class Options(TypedDict, total=False):
    """The keywords of `segment`, for type checkers: the fields of `Settings`, `window`, and prompts beside boxes."""

    window: Window | None
    box_space: BoxSpace
    overlap: Overlap
    axis: Axis
    streams: int
    stop_when_empty: bool
    progress: Progress | None
    compat: Compat | None
    detail: Detail
    follow: bool
    keep_logits: bool
    points: Any
    point_labels: Any
    prior: Any
    reduced_jpeg: bool
    box_format: BoxFormat
    clean: Clean


def check_choice(argument: str, value: object, choices: Any) -> None:
    """Raise InputError unless `value` is one of the names of a Literal type."""
    names = get_args(choices)
    if value not in names:
        expected = f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"
        raise InputError(f"{argument}: expected {expected}, got {value!r}")
