"""The REST API, version 1."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, UploadFile
from fastapi.responses import Response, StreamingResponse

from medsam_edge.server import schemas
from medsam_edge.server.schemas import AxisNumber, Format

router = APIRouter(prefix="/api/v1")

ImageId = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]


def _todo() -> HTTPException:
    return HTTPException(501, "not yet")


@router.get("/server")
def server() -> schemas.ServerInfo:
    raise _todo()


@router.get("/files")
def files() -> list[schemas.ServedFile]:
    """Images of the served folder; none without one."""
    raise _todo()


@router.post("/images", status_code=201)
def upload(files: list[UploadFile]) -> schemas.Image:
    """One image file, or the files of one DICOM series, as multipart/form-data."""
    raise _todo()


@router.post("/images/open", status_code=201)
def open_file(request: schemas.OpenFile) -> schemas.Image:
    """An image of the served folder."""
    raise _todo()


@router.get("/images")
def images() -> list[schemas.Image]:
    raise _todo()


@router.get("/images/{image}")
def image(image: ImageId) -> schemas.Image:
    raise _todo()


@router.delete("/images/{image}", status_code=204)
def forget(image: ImageId) -> None:
    """Forget an image and its segmentations; what is saved stays."""
    raise _todo()


@router.get("/images/{image}/slices/{number}.png")
def slice_png(
    image: ImageId,
    number: Annotated[int, Path(ge=0)],
    axis: Annotated[AxisNumber, Query()] = 0,
    modality: Annotated[str | None, Query(max_length=32)] = None,
    window: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """8-bit PNG, grey or RGB. `window` is `LEVEL,WIDTH` or a CT window's name; a picture has slice 0."""
    raise _todo()


@router.post("/images/{image}/embed")
def embed(image: ImageId, request: schemas.EmbedRequest) -> schemas.Embedded:
    raise _todo()


@router.post("/images/{image}/segmentations", status_code=201, responses={202: {"model": schemas.Job}})
def segment(image: ImageId, request: schemas.SegmentRequest) -> schemas.SegmentationInfo:
    """201 and the result; with `background` 202 and a job."""
    raise _todo()


@router.post("/segmentations/{segmentation}/refine", status_code=201, responses={202: {"model": schemas.Job}})
def refine(segmentation: Id, request: schemas.RefineRequest) -> schemas.SegmentationInfo:
    """A new result, of which the former is the parent."""
    raise _todo()


@router.get("/segmentations/{segmentation}")
def segmentation(segmentation: Id) -> schemas.SegmentationInfo:
    raise _todo()


@router.get("/segmentations/{segmentation}/slices/{number}")
def mask_slice(
    segmentation: Id, number: Annotated[int, Path(ge=0)], axis: Annotated[AxisNumber, Query()] = 0
) -> list[schemas.SliceObject]:
    """Each object's mask on one slice along any axis."""
    raise _todo()


@router.get("/segmentations/{segmentation}/labels.{format}")
def labels(segmentation: Id, format: Format) -> Response:  # noqa: A002
    """All objects in one file."""
    raise _todo()


@router.post("/images/{image}/export")
def export(image: ImageId, request: schemas.ExportRequest) -> Response:
    """Chosen objects, also of several segmentations, in one file."""
    raise _todo()


@router.put("/images/{image}/saved")
def save(image: ImageId, request: schemas.SaveRequest) -> schemas.Saved:
    raise _todo()


@router.get("/images/{image}/saved")
def saved(image: ImageId) -> schemas.Saved:
    raise _todo()


@router.get("/jobs/{job}")
def job(job: Id) -> schemas.Job:
    raise _todo()


@router.delete("/jobs/{job}", status_code=202)
def cancel(job: Id) -> schemas.Job:
    raise _todo()


@router.get("/jobs/{job}/events")
def events(job: Id) -> StreamingResponse:
    """Server-sent events until the job ends; the event's name is the job's state, its data a `Job`."""
    raise _todo()
