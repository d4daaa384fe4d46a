"""The HTTP application: routes, refusals, and the document of both. What it talks to is handed in.

The few calls that workers and starters make all day (`fast` in their tables, and without a variable in their path) are
looked up by address and go straight to their endpoints: the framework's way there costs more than they do.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api import docs_page, openapi, problems
from api.request_ids import RequestIds
from api.routes import TABLES
from api.routing import Endpoint
from api.wiring import Wiring
from domain.errors import TenutoError


class Application(FastAPI):
    """FastAPI, with an express lane."""

    def __init__(self, express: dict[tuple[str, str], Endpoint], **settings: Any) -> None:
        super().__init__(**settings)
        self._express = express
        self._lane = RequestIds(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (scope.get("method"), scope.get("path")) in self._express:
            scope["app"] = self
            await self._lane(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._express[scope["method"], scope["path"]](Request(scope, receive))
        except TenutoError as refusal:
            response = problems.refused(refusal)
        except Exception:
            await problems.apology()(scope, receive, send)
            raise  # The server logs its traceback.
        await response(scope, receive, send)


def create_app(wiring: Wiring | None = None) -> FastAPI:
    """The application over one server's parts; without any it can only be documented."""
    app = Application(
        {
            (row.method, row.path): row.endpoint
            for table in TABLES
            for row in table.table
            if row.fast and "{" not in row.path
        },
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
