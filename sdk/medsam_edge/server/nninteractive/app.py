"""nnInteractive's protocol as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from medsam_edge.modality import Modality
from medsam_edge.segmenter import Segmenter
from medsam_edge.server.app import add_health, plain_app
from medsam_edge.server.guard import LOOPBACK, Guard
from medsam_edge.server.limits import Limits
from medsam_edge.server.metrics import Metrics
from medsam_edge.server.nninteractive.leases import LeaseRules, Leases
from medsam_edge.server.nninteractive.routes import UPLOADS, Viewers, router
from medsam_edge.server.nninteractive.session import ViewerSession


def make_viewers_app(
    segmenter: Segmenter,
    limits: Limits,
    token: str,
    hosts: Iterable[str] = LOOPBACK,
    modality: Modality | None = None,
    rules: LeaseRules | None = None,
) -> ASGIApp:
    """The endpoints behind the guard. The token is what clients call `api_key`; `modality` is that of all images."""
    leases = Leases(lambda: ViewerSession(segmenter, modality), rules or LeaseRules())
    viewers = Viewers(segmenter, leases, limits)
    metrics = Metrics()
    metrics.gauge("sessions", "Viewers' sessions.", lambda: len(leases))
    metrics.gauge("waiting", "Requests that wait for a thread.", lambda: viewers.queue.waiting)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        viewers.queue.close()

    app = plain_app("medsam-edge, nnInteractive's protocol", lifespan)
    app.state.viewers = viewers
    app.include_router(router)
    add_health(app, metrics)
    return Guard(app, token, limits, metrics, hosts=hosts, uploads=UPLOADS)
