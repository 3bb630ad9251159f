"""The server as an ASGI application."""

from __future__ import annotations

from fastapi import FastAPI

from medsam_edge.server.routes import router
from medsam_edge.version import __version__


def make_app() -> FastAPI:
    app = FastAPI(title="medsam-edge", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(router)
    return app
