"""`/docs`: the API to read and to try, by Swagger UI. Its files come from this server, so that it needs no other.

They are those of the wheel `fastapi-offline`, of which nothing else is used. Addresses are relative: a proxy may serve
all of it under a path of its own.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

PATH = "/docs"
FILES = "/docs/files"


def install(app: FastAPI) -> None:
    app.mount(FILES, StaticFiles(packages=[("fastapi_offline", "static")]), name="docs files")
    app.add_route(PATH, _page, include_in_schema=False)


async def _page(request: Request) -> Response:
    files = FILES.removeprefix("/")
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Tenuto: the HTTP API",
        swagger_js_url=f"{files}/swagger-ui-bundle.js",
        swagger_css_url=f"{files}/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={
            "validatorUrl": None
        },  # else it sends the document to a service of its maker's
    )
