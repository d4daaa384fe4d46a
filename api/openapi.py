"""The document of the HTTP API: made from the routes, kept in docs/reference, compared by a test.

python -m api.openapi        # writes docs/reference/openapi.json and the table in docs/reference/http.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import bodies
from api.routes import TABLES
from api.routing import Documented

DESCRIPTION = (
    "Workflows whose history is the truth. Lists answer `{<plural>: […], next}`; pass `next` as `cursor`. Times are "
    "RFC 3339 in UTC, durations `30s`, `5m`, `24h` or ISO 8601. Refusals are `application/problem+json` (RFC 9457)."
)
REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
DOCUMENT = REFERENCE / "openapi.json"
PAGE = REFERENCE / "http.md"
BEGIN, END = "<!-- routes: python -m api.openapi -->", "<!-- end of routes -->"

SHAPES = [
    bodies.StartBody,
    bodies.ActBody,
    bodies.StepActBody,
    bodies.ResolveBody,
    bodies.DataBody,
    bodies.MigrateBody,
    bodies.ForkBody,
    bodies.MigrateManyBody,
    bodies.BatchBody,
    bodies.SignalBody,
    bodies.KeyedSignalBody,
    bodies.VerifyBody,
    bodies.WhatIfBody,
    bodies.WebhookBody,
    bodies.RedeliverBody,
    bodies.PollBody,
    bodies.CompleteBody,
    bodies.FailBody,
    bodies.HeartbeatBody,
]
PROBLEM = {
    "title": "Problem",
    "description": "RFC 9457. `type` is stable and for programs; further members depend on it.",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:tenuto:problem:invalid-transition"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "additionalProperties": True,
}


def install(app: FastAPI) -> None:
    """Makes `app.openapi()`, which serves /openapi.json, this document."""
    app.openapi = lambda: document(app)  # type: ignore[method-assign]


def document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1, the bodies' schemas included."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
        )
        for row in (row for table in TABLES for row in table.table):
            _keep_nulls(made, row)
        _, schemas = msgspec.json.schema_components(SHAPES, ref_template="#/components/schemas/{name}")
        made["components"] = {"schemas": {"Problem": PROBLEM, **dict(sorted(schemas.items()))}}
        app.openapi_schema = made
    return app.openapi_schema


def _keep_nulls(made: dict[str, Any], row: Documented) -> None:
    """FastAPI leaves null members out of examples, too, where they mean something."""
    path = row.path.replace(":path}", "}")
    for status, example in row.answers.items():
        for content in made["paths"][path][row.method.lower()]["responses"][str(status)]["content"].values():
            content["example"] = example


def operations(made: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation) of every route, in the order of the document."""
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def table(made: dict[str, Any]) -> str:
    """The routes as a table in Markdown."""
    rows = ["| | | |", "|---|---|---|"]
    for method, path, operation in operations(made):
        rows.append(f"| `{method}` | `{path}` | {operation['summary'].rstrip('.')} |")
    return "\n".join(rows)


def as_text(made: dict[str, Any]) -> str:
    return json.dumps(made, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def with_table(page: str, made: dict[str, Any]) -> str:
    """The page with its table made anew. Raises ValueError when the marks are gone."""
    head, _, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name} has lost {BEGIN} … {END}")
    return f"{head}{BEGIN}\n{table(made)}\n{END}{tail}"


def main() -> None:
    from api.app import create_app

    made = document(create_app())
    DOCUMENT.write_text(as_text(made), encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    main()
