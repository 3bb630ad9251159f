"""The REST API, version 1."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import UploadFile

from medsam_edge.errors import CancelledError, InputError
from medsam_edge.server import schemas
from medsam_edge.server.errors import TooLong
from medsam_edge.server.export import Named, exported
from medsam_edge.server.held import HeldImage
from medsam_edge.server.schemas import Format
from medsam_edge.server.service import Service
from medsam_edge.server.work import Deadline, in_turn

router = APIRouter(prefix="/api/v1", responses={"4XX": {"model": schemas.Problem}, 503: {"model": schemas.Problem}})
LOOK_SECONDS = 0.1
"""How often the state of a job is looked at for its events."""
QUIET_SECONDS = 10.0
"""Time without an event after which a comment keeps the connection open."""


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def client_of(request: Request) -> str:
    """Who asks, for budgets: what the client calls itself, else its address."""
    named: str = request.scope["medsam_edge.client"]
    return named


Served = Annotated[Service, Depends(service_of)]
Client = Annotated[str, Depends(client_of)]
ImageId = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Number = Annotated[int, Path(ge=0, lt=1 << 31)]


def image_of(image: ImageId, service: Served, client: Client) -> HeldImage:
    return service.store.image(image, client)


Held = Annotated[HeldImage, Depends(image_of)]


@router.get("/server")
def server(service: Served) -> schemas.ServerInfo:
    return service.info()


@router.get("/files")
async def files(service: Served) -> list[schemas.ServedFile]:
    """Images of the served folder; none without one."""
    return await in_turn(service.reading, service.files)


UPLOAD = {
    "type": "object",
    "required": ["files"],
    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}},
}


@router.post(
    "/images",
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": UPLOAD}}}},
)
async def upload(request: Request, service: Served, client: Client) -> schemas.Image:
    """One image file, or the files of one DICOM series, as parts named `files`."""
    async with request.form(max_files=service.limits.files, max_fields=0) as form:
        parts = [(part.filename or "", part.file) for part in form.getlist("files") if isinstance(part, UploadFile)]
        return await in_turn(service.reading, lambda: service.upload(parts, client))


@router.post("/images/open", status_code=201)
async def open_file(request: schemas.OpenFile, service: Served, client: Client) -> schemas.Image:
    """An image of the served folder."""
    return await in_turn(service.reading, lambda: service.open(request.file, client))


@router.get("/images")
def images(service: Served) -> list[schemas.Image]:
    return [service.described(held) for held in service.store.images()]


@router.get("/images/{image}")
def image(held: Held, service: Served) -> schemas.Image:
    return service.described(held)


@router.delete("/images/{image}", status_code=204)
def forget(held: Held, service: Served) -> None:
    """Forget an image and its segmentations; what is saved stays."""
    service.store.drop(held.id)


@router.get(
    "/images/{image}/slices/{number}.png", response_class=Response, responses={200: {"content": {"image/png": {}}}}
)
async def slice_png(
    held: Held,
    service: Served,
    number: Number,
    axis: Annotated[int, Query(ge=0, le=2)] = 0,
    modality: Annotated[str | None, Query(max_length=32)] = None,
    window: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """8-bit PNG, grey or RGB. `window` is `LEVEL,WIDTH` or a CT window's name; a picture has slice 0."""
    shown = schemas.Shown(modality=modality, window=_parsed(window))
    png = await in_turn(service.drawing, lambda: service.picture(held, number, axis, shown))
    return Response(png, media_type="image/png")


def _parsed(window: str | None) -> list[float] | str | None:
    if window is None or "," not in window:
        return window
    try:
        level, width = map(float, window.split(","))
    except ValueError as error:
        raise InputError(f"window: expected LEVEL,WIDTH or a name, got {window!r}") from error
    return [level, width]


@router.post("/images/{image}/embed")
async def embed(held: Held, request: schemas.EmbedRequest, service: Served) -> schemas.Embedded:
    """Encode ahead, so that the first prompt is answered fast."""
    embedded = await in_turn(service.segmenting, lambda: service.embed(held, request))
    service.store.trim(held.id)
    return embedded


Answer = schemas.SegmentationInfo
JOB: dict[int | str, dict[str, Any]] = {202: {"model": schemas.Job}}


@router.post("/images/{image}/segmentations", status_code=201, response_model=Answer, responses=JOB)
async def segment(held: Held, request: schemas.SegmentRequest, service: Served, client: Client) -> Any:
    """201 and the result; with `background` 202 and a job."""

    def work(progress: Deadline) -> Answer:
        return service.segment(held, request, client, progress)

    return await _answer(service, client, request.background, work)


@router.post("/segmentations/{segmentation}/refine", status_code=201, response_model=Answer, responses=JOB)
async def refine(segmentation: Id, request: schemas.RefineRequest, service: Served, client: Client) -> Any:
    """A new result, of which the former is the parent."""
    former = service.store.result(segmentation)
    return await _answer(service, client, request.background, lambda _: service.refine(former, request, client))


async def _answer(service: Service, client: str, background: bool, work: Callable[[Deadline], Answer]) -> Any:
    if background:
        job = service.jobs.start(client, lambda progress: work(progress).id)
        return JSONResponse(job.shown().model_dump(), status_code=202)
    try:
        return await in_turn(service.segmenting, lambda: work(Deadline(service.limits.job_seconds)))
    except CancelledError as error:
        raise TooLong(f"took longer than {service.limits.job_seconds:g} s; ask with background") from error


@router.get("/segmentations/{segmentation}")
def segmentation(segmentation: Id, service: Served) -> Answer:
    return service.found(segmentation)


@router.get("/segmentations/{segmentation}/slices/{number}")
def mask_slice(
    segmentation: Id, number: Number, service: Served, axis: Annotated[int, Query(ge=0, le=2)] = 0
) -> list[schemas.SliceObject]:
    """Each object's mask on one slice along any axis."""
    return service.sections(service.store.result(segmentation), number, axis)


@router.get("/segmentations/{segmentation}/labels.{format}", response_class=Response)
async def labels(segmentation: Id, format: Format, service: Served, client: Client) -> Response:  # noqa: A002
    """All objects in one file."""
    kept = service.store.result(segmentation)
    held = service.store.image(kept.image, client)
    objects = [Named(kept.result, index) for index in range(len(kept.result))]
    return _file(*await in_turn(service.drawing, lambda: exported(held, objects, format)))


@router.post("/images/{image}/export", response_class=Response)
async def export(held: Held, request: schemas.ExportRequest, service: Served) -> Response:
    """Chosen objects, also of several segmentations, in one file."""
    objects = [own for own, _ in service.chosen(held, request.objects)]
    return _file(*await in_turn(service.drawing, lambda: exported(held, objects, request.format)))


def _file(content: bytes, media_type: str, name: str) -> Response:
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in name)
    return Response(content, media_type=media_type, headers={"content-disposition": f'attachment; filename="{plain}"'})


@router.put("/images/{image}/saved")
async def save(held: Held, request: schemas.SaveRequest, service: Served, client: Client) -> schemas.Saved:
    """Replace what is saved of an image. It is on disk when the answer comes."""
    return await in_turn(service.drawing, lambda: service.save(held, request, client))


@router.get("/images/{image}/saved")
async def saved(held: Held, service: Served, client: Client) -> schemas.Saved:
    return await in_turn(service.drawing, lambda: service.load(held, client))


@router.get("/jobs/{job}")
def job(job: Id, service: Served) -> schemas.Job:
    return service.jobs.get(job).shown()


@router.delete("/jobs/{job}", status_code=202)
def cancel(job: Id, service: Served) -> schemas.Job:
    """Cancel a job that waits or runs; one that has ended stays as it is."""
    found = service.jobs.get(job)
    service.jobs.cancel(found)
    return found.shown()


@router.get(
    "/jobs/{job}/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}}
)
async def events(job: Id, service: Served) -> StreamingResponse:
    """Server-sent events until the job ends; the event's name is the job's state, its data a `Job`."""
    found = service.jobs.get(job)

    async def stream() -> AsyncIterator[str]:
        told, quiet = "", 0.0
        while True:
            ended, now = found.ended, found.shown()
            text = now.model_dump_json()
            if text != told:
                yield f"event: {now.state}\ndata: {text}\n\n"
                told, quiet = text, 0.0
            if ended:
                return
            if quiet >= QUIET_SECONDS:
                yield ": waiting\n\n"
                quiet = 0.0
            await asyncio.sleep(LOOK_SECONDS)
            quiet += LOOK_SECONDS

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"cache-control": "no-store"})
