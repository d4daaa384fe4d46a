"""The HTTP application: routes, refusals, and the document of both. What it talks to is handed in."""

from __future__ import annotations

from fastapi import FastAPI

from api import docs_page, openapi, problems
from api.request_ids import RequestIds
from api.routes import TABLES
from api.wiring import Wiring


def create_app(wiring: Wiring | None = None) -> FastAPI:
    """The application over one server's parts; without any it can only be documented."""
    app = FastAPI(
        title="Tenuto",
        version="1",
        summary="An event-sourced workflow orchestrator.",
        description=openapi.DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(RequestIds)
    problems.install(app)
    for table in TABLES:
        table.install(app)
    openapi.install(app)
    docs_page.install(app)
    app.state.wiring = wiring
    return app
