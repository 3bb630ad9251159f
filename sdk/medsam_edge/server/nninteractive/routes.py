"""nnInteractive's endpoints. Names of paths and headers come from its client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from nnInteractive.inference.remote import _protocol as wire
from pydantic import BaseModel, Field

from medsam_edge.errors import CancelledError
from medsam_edge.segmenter import Segmenter
from medsam_edge.server import schemas
from medsam_edge.server.errors import TooLong
from medsam_edge.server.limits import Limits
from medsam_edge.server.nninteractive.changes import Change
from medsam_edge.server.nninteractive.interactions import (
    Area,
    Initial,
    Interaction,
    box_of,
    click_of,
    placed,
    scribble_of,
)
from medsam_edge.server.nninteractive.leases import Lease, Leases
from medsam_edge.server.nninteractive.session import ViewerSession
from medsam_edge.server.nninteractive.wire import meta_of, packed, unpacked
from medsam_edge.server.work import Deadline, Queue, in_turn

UPLOADS = (wire.PATH_SET_IMAGE, wire.PATH_ADD_SCRIBBLE, wire.PATH_ADD_LASSO, wire.PATH_ADD_INITIAL_SEG)
LICENSE = "Apache-2.0; data of the weights: MODEL_CARD.md"
PATIENCE_SECONDS = 55.0
"""nnInteractive's client gives an answer up after a minute."""
router = APIRouter(responses={"4XX": {"model": schemas.Problem}, 503: {"model": schemas.Problem}})

Pair = Annotated[list[schemas.Number], Field(min_length=2, max_length=2)]


class Target(BaseModel):
    shape: Annotated[list[int], Field(min_length=3, max_length=3)]
    dtype: Annotated[str, Field(max_length=16)]


class BoxBody(BaseModel):
    bbox_coords: Annotated[list[Pair], Field(min_length=3, max_length=3)]
    include_interaction: bool
    run_prediction: bool = True


class PointBody(BaseModel):
    coordinates: Annotated[list[schemas.Number], Field(min_length=3, max_length=3)]
    include_interaction: bool
    run_prediction: bool = True


class PredictBody(BaseModel):
    force_full_refine: bool = False


class Viewers:
    """All viewers' sessions and the threads that work for them."""

    def __init__(self, segmenter: Segmenter, leases: Leases, limits: Limits) -> None:
        self.segmenter, self.leases, self.limits = segmenter, leases, limits
        self.queue = Queue("segment", limits.workers, limits.queue)

    async def answer(
        self, lease: Lease, work: Callable[[ViewerSession, Deadline], tuple[bool, Change | None]]
    ) -> Response:
        """Work in a session in a thread: whether a prediction ran, and what it changed."""

        def done() -> Response:
            seconds = min(self.limits.job_seconds, PATIENCE_SECONDS)
            try:
                return _answer(lease.session, *work(lease.session, Deadline(seconds)))
            except CancelledError as error:
                raise TooLong(f"the object takes longer than {seconds:g} s to follow; it stays as it was") from error

        return await in_turn(self.queue, done)

    async def act(self, lease: Lease, make: Callable[[ViewerSession], Interaction], run: bool) -> Response:
        """Note an interaction, and carry it out if asked for."""

        def work(session: ViewerSession, progress: Deadline) -> tuple[bool, Change | None]:
            session.add(make(session))
            return run, session.predict(progress) if run else None

        return await self.answer(lease, work)


def viewers_of(request: Request) -> Viewers:
    viewers: Viewers = request.app.state.viewers
    return viewers


All = Annotated[Viewers, Depends(viewers_of)]
Key = Annotated[str | None, Header(alias=wire.LEASE_HEADER)]


async def in_session(viewers: All, key: Key = None) -> AsyncIterator[Lease]:
    """A session for one request at a time; others of the same session wait, without a thread."""
    lease = viewers.leases.find(key)
    async with lease.lock:
        yield lease
        viewers.leases.touch(lease)


Held = Annotated[Lease, Depends(in_session)]


@router.get(wire.PATH_CAPABILITIES)
def capabilities(viewers: All) -> dict[str, Any]:
    """What the network takes. Channels are nnInteractive's own and mean nothing here, but clients expect them."""
    prompts = viewers.segmenter.model.prompts
    points, masks = "points" in prompts, "mask" in prompts
    return {
        "supported_interactions": {
            "points": points,
            "scribble": points,
            "lasso": masks,
            "bbox2d": True,
            "bbox3d": True,
        },
        "channel_mapping": {
            "prev_seg": 0,
            "bbox2d": [1, 2],
            "bbox3d": [1, 2],
            "lasso": [1, 2],
            "points": [3, 4],
            "scribble": [5, 6],
        },
        "num_interaction_channels": 7,
        "supports_initial_label": masks,
        "supports_zero_shot_label_refinement": masks,
        "preferred_scribble_thickness": [2, 2, 2],
        "interaction_decay": 1.0,
        "do_autozoom": True,
        "inference_session_version": version("nninteractive-client"),
        "license": LICENSE,
        "supports_undo": True,
    }


@router.post(wire.PATH_CLAIM)
async def claim(viewers: All) -> dict[str, Any]:
    rules = viewers.leases.rules
    return {
        "lease_token": viewers.leases.claim().key,
        "idle_timeout_seconds": rules.idle_seconds,
        "liveness_timeout_seconds": rules.silent_seconds,
        "max_sessions": rules.sessions,
    }


@router.post(wire.PATH_RELEASE)
async def release(viewers: All, key: Key = None) -> dict[str, bool]:
    viewers.leases.release(key)
    return {"released": True}


@router.post(wire.PATH_HEARTBEAT)
async def heartbeat(viewers: All, key: Key = None) -> dict[str, float]:
    return {"remaining_seconds": viewers.leases.remaining(viewers.leases.find(key, acts=False))}


@router.get(wire.PATH_LEASE_STATUS)
async def lease_status(viewers: All, key: Key = None) -> dict[str, float]:
    remaining = viewers.leases.remaining(viewers.leases.find(key, acts=False, seen=False))
    return {"remaining_seconds": remaining, "idle_timeout_seconds": viewers.leases.rules.idle_seconds}


@router.post(wire.PATH_SET_IMAGE)
async def set_image(request: Request, viewers: All, lease: Held) -> dict[str, list[int]]:
    properties = meta_of(request.headers.get(wire.META_HEADER)).get("image_properties")
    body = await request.body()

    def work() -> dict[str, list[int]]:
        image = unpacked(body, 4)
        lease.session.set_image(image, properties if isinstance(properties, dict) else {})
        return {"original_image_shape": list(image.shape)}

    return await in_turn(viewers.queue, work)


@router.post(wire.PATH_SET_TARGET_BUFFER)
async def set_target_buffer(target: Target, lease: Held) -> dict[str, Any]:
    lease.session.set_target(target.shape, target.dtype)
    return {}


@router.post(wire.PATH_SET_DO_AUTOZOOM)
async def set_do_autozoom(lease: Held) -> dict[str, Any]:
    """Nothing to set: an object is followed as far as it goes."""
    return {}


@router.post(wire.PATH_RESET_INTERACTIONS)
async def reset_interactions(lease: Held) -> dict[str, Any]:
    lease.session.reset()
    return {}


@router.post(wire.PATH_UNDO, response_class=Response)
async def undo(viewers: All, lease: Held) -> Response:
    return await viewers.answer(lease, lambda session, _: session.undo())


@router.post(wire.PATH_PREDICT, response_class=Response)
async def predict(body: PredictBody, viewers: All, lease: Held) -> Response:
    def work(session: ViewerSession, progress: Deadline) -> tuple[bool, Change | None]:
        if session.pending:
            return True, session.predict(progress)
        return body.force_full_refine, session.redo(progress) if body.force_full_refine else None

    return await viewers.answer(lease, work)


@router.post(wire.PATH_ADD_BBOX, response_class=Response)
async def add_bbox_interaction(body: BoxBody, viewers: All, lease: Held) -> Response:
    def make(session: ViewerSession) -> Interaction:
        return box_of(body.bbox_coords, body.include_interaction, session.shape)

    return await viewers.act(lease, make, body.run_prediction)


@router.post(wire.PATH_ADD_POINT, response_class=Response)
async def add_point_interaction(body: PointBody, viewers: All, lease: Held) -> Response:
    return await viewers.act(lease, lambda _: click_of(body.coordinates, body.include_interaction), body.run_prediction)


@router.post(wire.PATH_ADD_SCRIBBLE, response_class=Response)
async def add_scribble_interaction(request: Request, viewers: All, lease: Held) -> Response:
    return await _drawn(request, viewers, lease, lambda session, mask, own: scribble_of(mask, own, session.axis))


@router.post(wire.PATH_ADD_LASSO, response_class=Response)
async def add_lasso_interaction(request: Request, viewers: All, lease: Held) -> Response:
    return await _drawn(request, viewers, lease, lambda _, mask, own: Area(mask, own))


async def _drawn(
    request: Request, viewers: Viewers, lease: Lease, make: Callable[[ViewerSession, Any, bool], Interaction]
) -> Response:
    meta = meta_of(request.headers.get(wire.META_HEADER))
    body = await request.body()

    def interaction(session: ViewerSession) -> Interaction:
        mask = placed(unpacked(body, 3), meta.get("interaction_bbox"), session.shape)
        return make(session, mask, bool(meta.get("include_interaction", True)))

    return await viewers.act(lease, interaction, bool(meta.get("run_prediction", True)))


@router.post(wire.PATH_ADD_INITIAL_SEG, response_class=Response)
async def add_initial_seg_interaction(request: Request, viewers: All, lease: Held) -> Response:
    run = bool(meta_of(request.headers.get(wire.META_HEADER)).get("run_prediction", False))
    body = await request.body()

    def work(session: ViewerSession, progress: Deadline) -> tuple[bool, Change | None]:
        session.add(Initial(placed(unpacked(body, 3), None, session.shape)))
        return run, session.redo(progress) if run else None

    return await viewers.answer(lease, work)


def _answer(session: ViewerSession, ran: bool, change: Change | None) -> Response:
    """The changed part of the mask, in the type of the viewer's buffer."""
    meta: dict[str, Any] = {"ran_prediction": ran, "bbox": None}
    body = b""
    if change is not None:
        values = change.values.astype(session.dtype)
        meta |= {"bbox": change.bounds, "dtype": str(values.dtype), "shape": list(values.shape)}
        body = packed(values)
    headers = {wire.META_HEADER: json.dumps(meta, separators=(",", ":"))}
    return Response(body, media_type=wire.CONTENT_TYPE_OCTET_STREAM, headers=headers)
