"""The document is kept, complete, and true of the application."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from fastapi.routing import APIRoute

from api.app import create_app
from api.bodies import Strict
from api.openapi import DOCUMENT, PAGE, SHAPES, as_text, document, operations, with_table
from api.problems import PROBLEMS
from api.routes import TABLES

APP = create_app()
MADE = document(APP)
OPERATIONS = {f"{method} {path}": operation for method, path, operation in operations(MADE)}
OUR_OWN = {"/openapi.json", "/docs", "/docs/files"}


def test_the_kept_document_is_the_applications() -> None:
    """Out of date? `python -m api.openapi`."""
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == json.loads(as_text(MADE))
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page, MADE)


def test_every_route_is_documented() -> None:
    served = {
        f"{method} {route.path_format}"
        for route in APP.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert served == set(OPERATIONS)
    others = {getattr(route, "path", "") for route in APP.routes if not isinstance(route, APIRoute)}
    assert others == OUR_OWN


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_says_what_it_does_and_shows_it(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["tags"]
    for status, answer in operation["responses"].items():
        (content,) = answer["content"].values()
        assert status >= "400" or content["example"], status
    body = operation.get("requestBody")
    if body is not None:
        (content,) = body["content"].values()
        assert content["example"]


def test_every_reference_leads_somewhere() -> None:
    names = set(MADE["components"]["schemas"])
    text = json.dumps(MADE)
    used = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used <= names


def _with_bodies() -> list[tuple[type[Any], Any]]:
    return [(row.body, row.example) for table in TABLES for row in table.table if row.body is not None]


@pytest.mark.parametrize(("kind", "example"), _with_bodies())
def test_the_examples_of_bodies_are_accepted(kind: type[Any], example: Any) -> None:
    msgspec.convert(example, kind)


def test_every_shape_of_a_body_is_in_the_document() -> None:
    assert {kind for kind, _ in _with_bodies()} == set(SHAPES)
    assert all(issubclass(kind, Strict) for kind in SHAPES)


def test_every_refusal_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert {problem.slug for problem in PROBLEMS.values() if f"`{problem.slug}`" not in page} == set()
