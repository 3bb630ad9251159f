"""The server as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from medsam_edge.errors import BundleError, MedsamEdgeError
from medsam_edge.server import schemas
from medsam_edge.server.errors import RequestError
from medsam_edge.server.guard import LOOPBACK, Guard
from medsam_edge.server.metrics import Metrics
from medsam_edge.server.routes import router
from medsam_edge.server.service import Service
from medsam_edge.version import __version__

STATIC = Path(__file__).parent / "static"
UPLOADS = ("/api/v1/images",)
ASK_FIRST = {"cache-control": "no-cache"}
"""A browser asks whether a file of the page has changed: after an update no old one runs beside new ones."""


class PageFiles(StaticFiles):
    """The page's files."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(ASK_FIRST)
        return response


def make_app(service: Service, token: str, hosts: Iterable[str] = LOOPBACK) -> ASGIApp:
    """The REST API and the page, behind the guard. The service is closed when the server stops."""
    metrics = Metrics()
    metrics.gauge("waiting", "Requests that wait for a thread.", lambda: service.segmenting.waiting)
    metrics.gauge("jobs_waiting", "Background jobs that wait.", lambda: service.jobs.waiting)
    metrics.gauge("images", "Images in memory.", lambda: len(service.store.images()))
    metrics.gauge("held_bytes", "Bytes of images and results.", lambda: service.store.nbytes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = plain_app("medsam-edge", lifespan)
    app.state.service = service
    app.include_router(router)
    add_health(app, metrics)
    app.mount("/static", PageFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=ASK_FIRST)

    return Guard(app, token, service.limits, metrics, hosts=hosts, public=("/", "/static/"), uploads=UPLOADS)


def plain_app(title: str, lifespan: Any) -> FastAPI:
    """An application whose errors are `Problem`s. Its documentation is `/openapi.json`; FastAPI's pages load scripts
    from elsewhere."""
    app = FastAPI(title=title, version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_exception_handler(MedsamEdgeError, _refused)
    app.add_exception_handler(RequestError, _request_refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(MemoryError, _no_memory)
    app.add_exception_handler(Exception, _failed)
    return app


def add_health(app: FastAPI, metrics: Metrics) -> None:
    """`/healthz` and `/metrics`."""

    @app.get("/healthz")
    def health() -> dict[str, bool]:
        """Whether the server answers."""
        return {"ok": True}

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def prometheus() -> Response:
        """Prometheus text."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


def problem(status: int, detail: str, kind: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(schemas.Problem(detail=detail, type=kind).model_dump(), status, headers)


def _refused(_: Request, error: Exception) -> JSONResponse:
    status = 500 if isinstance(error, BundleError) else 422
    return problem(status, str(error), type(error).__name__)


def _request_refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)  # noqa: S101
    headers = None if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return problem(error.status, str(error), type(error).__name__, headers)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """The first of the validation's complaints; what was sent is not sent back."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return problem(422, f"{where}: {first['msg']}", "RequestValidationError")


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    return problem(error.status_code, str(error.detail), "HTTPException", dict(error.headers or {}))


def _no_memory(_: Request, __: Exception) -> JSONResponse:
    return problem(413, "the image takes more memory than there is", "MemoryError")


def _failed(_: Request, __: Exception) -> JSONResponse:
    return problem(500, "the server failed; its log says why", "ServerError")
