"""What goes over the wire as JSON. Coordinates are the sdk's: pixels, x before y before z, far edges exclusive."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

MOST_OBJECTS = 4096
"""Boxes or rows of clicks in one request."""
MOST_CLICKS = 256
"""Clicks on one object in one request."""

AxisNumber = Literal[0, 1, 2]
"""Array axis along which a volume is sliced: 0 axial, 1 coronal, 2 sagittal of a (D, H, W) array."""
Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Row = Annotated[list[Number], Field(min_length=4, max_length=6)]
Point = Annotated[list[Number], Field(min_length=2, max_length=3)]
Points = Annotated[list[Annotated[list[Point], Field(max_length=MOST_CLICKS)]], Field(max_length=MOST_OBJECTS)]
Labels = Annotated[
    list[Annotated[list[Literal[-1, 0, 1]], Field(max_length=MOST_CLICKS)]], Field(max_length=MOST_OBJECTS)
]
Pair = Annotated[list[Number], Field(min_length=2, max_length=2)]
Format = Literal["png", "tif", "npz", "nii", "nii.gz", "nrrd", "mha", "dcm", "coco", "rle", "polygons"]
"""Label maps by suffix (`dcm` is a DICOM SEG), or JSON: `coco`, `rle` (COCO's, one mask an object), `polygons`."""

FORMATS: tuple[str, ...] = get_args(Format)


class Strict(BaseModel):
    """A request: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """Why a request failed. `type` is an error of the sdk (`BoxError`) or of the server (`Unauthorized`)."""

    detail: str
    type: str


class ServerInfo(BaseModel):
    """What the server can do."""

    version: str
    model: str
    prompts: list[str]
    modalities: list[str]
    windows: dict[str, tuple[float, float]]
    upload_bytes: int
    suffixes: list[str]
    formats: list[str]
    serves_folder: bool
    saves: bool


class ServedFile(BaseModel):
    """An image in the served folder: its path there with `/`, and the bytes of the file, or of a series' files."""

    file: str
    bytes: int


class OpenFile(Strict):
    """A file of the served folder, as `GET /files` names it."""

    file: Annotated[str, Field(min_length=1, max_length=1024)]


class Image(BaseModel):
    """An image that the server holds.

    `id` is the SHA-256 of the file's bytes; of several files, of their sorted hashes. `shape` is [H, W], or [D, H, W]
    of a volume. `spacing_mm` (x, y, z) and `direction` are those of `Frame`. `range` is the least and greatest finite
    value. `boxes` are those a challenge npz carries. `saved` says whether there is a saved result.
    """

    id: str
    name: str
    shape: list[int]
    volume: bool
    color: bool
    dtype: str
    range: tuple[float, float]
    modality: str | None
    spacing_mm: list[float] | None
    direction: list[float] | None
    boxes: list[list[float]] | None
    saved: bool
    warnings: list[str]


class Shown(Strict):
    """How values become grey: the modality's rule, or a window, (level, width) or the name of a CT window."""

    modality: Annotated[str, Field(max_length=32)] | None = None
    window: Pair | Annotated[str, Field(max_length=32)] | None = None


class EmbedRequest(Shown):
    """What to encode ahead of the first prompt: a picture, or one slice of a volume."""

    axis: AxisNumber = 0
    slice: Annotated[int, Field(ge=0)] = 0


class Embedded(BaseModel):
    modality: str | None
    modality_confidence: float | None
    timings_ms: dict[str, float]


class SegmentRequest(Shown):
    """Prompts for new objects: as in `Segmenter.segment`.

    `prior` is the id of a segmentation of the same image with as many objects, whose masks are prompts. With
    `background` the answer is a job.
    """

    boxes: Annotated[list[Row], Field(max_length=MOST_OBJECTS)] | None = None
    points: Points | None = None
    point_labels: Labels | None = None
    prior: Annotated[str, Field(max_length=64)] | None = None
    axis: AxisNumber | Literal["all"] = 0
    follow: bool = False
    detail: Literal["auto", "image", "crop"] = "auto"
    overlap: Literal["later", "score"] = "later"
    background: bool = False


class RefineRequest(Strict):
    """Further clicks: one row an object, rows may be empty."""

    points: Points
    point_labels: Labels
    background: bool = False


class Region(BaseModel):
    """A mask on one slice, cropped: rows top..top+height, columns left..left+width.

    `counts` are lengths of runs in row order, background first: [3, 2] of a 5 × 1 region is 0 0 0 1 1. An empty mask
    has no rows and no counts. `slice` is 0 of a picture.
    """

    slice: int
    top: int
    left: int
    height: int
    width: int
    counts: list[int]
    score: float | None


class Click(BaseModel):
    point: list[float]
    label: int


class Object(BaseModel):
    """`box` is null where there were clicks alone. `size` counts pixels or voxels. `regions` are of the slices along
    the segmentation's axis on which the object is."""

    index: int
    box: list[float] | None
    score: float
    size: int
    clicks: list[Click]
    regions: list[Region]


class SliceObject(BaseModel):
    """An object's mask on one slice; null where it is not there."""

    index: int
    region: Region | None


class SegmentationInfo(BaseModel):
    """A result. It never changes: a correction is a new one whose `parent` is this one, so undo is the parent's id."""

    id: str
    image: str
    parent: str | None
    axis: int
    modality: str | None
    modality_confidence: float | None
    objects: list[Object]
    timings_ms: dict[str, float]
    warnings: list[str]


class Job(BaseModel):
    """Work in the background. `place` in the queue is 0 when it runs; `done` of `total` slices."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    place: int
    done: int
    total: int
    segmentation: str | None
    problem: Problem | None


class Chosen(Strict):
    """An object of a segmentation, as the user names and colours it."""

    segmentation: Annotated[str, Field(max_length=64)]
    index: Annotated[int, Field(ge=0)] = 0
    name: Annotated[str, Field(max_length=128)] = ""
    color: Annotated[str, Field(pattern="^(#[0-9a-fA-F]{6})?$")] = ""


class ExportRequest(Strict):
    """Objects of one image in one file, label i + 1 for the i-th; later over earlier."""

    format: Format
    objects: Annotated[list[Chosen], Field(max_length=MOST_OBJECTS)]


class SaveRequest(Strict):
    """All objects of an image, to be found again after a restart; what was saved before is replaced."""

    objects: Annotated[list[Chosen], Field(max_length=MOST_OBJECTS)]


class Saved(BaseModel):
    """What is saved of an image: the label map's name in the output folder, each object as a segmentation to go on
    from."""

    file: str
    objects: list[Chosen]
    segmentations: list[SegmentationInfo]
