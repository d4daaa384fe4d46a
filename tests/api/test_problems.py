"""Refusals as HTTP says them: the table is complete, and says nothing about the inside."""

from __future__ import annotations

import importlib
import logging
import pkgutil

import httpx
import pytest

import api
import domain
import engine
import notary
import projections
from api.app import create_app
from api.problems import PROBLEMS, problem_of, refused
from domain.errors import CorruptHistoryError, InvalidTransitionError, LimitExceededError, TenutoError
from engine.embedded_postgres import EmbeddedPostgresError, NoPostgresError
from engine.errors import OverloadedError
from engine.ports import CommitUnknownError, StoreUnavailableError

# They end a server before it answers anybody.
AT_START = {"CannotServeError", "UnsafeSwitchError", "BadDatabaseUrlError", "SchemaTooNewError"}
AT_START |= {EmbeddedPostgresError.__name__, NoPostgresError.__name__}
# They end inside: a projection stops, and its status says why; a step fails with it.
INSIDE = {"UnreadableEventError", "PositionLostError", "ShapeChangedError", "ChildDepthError"}


def every_refusal() -> set[type[TenutoError]]:
    for package in (api, domain, engine, notary, projections):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found: set[type[TenutoError]] = set()
    new = {TenutoError}
    while new:
        found |= new
        new = {below for kind in new for below in kind.__subclasses__()} - found
    # Tests and simulated worlds have refusals of their own, which no server ever gives.
    return {kind for kind in found if not kind.__module__.startswith(("tests.", "simulation."))} - {
        TenutoError
    }


def test_every_refusal_stands_in_the_table() -> None:
    missing = {
        kind.__name__
        for kind in every_refusal()
        if problem_of(kind()) is None and kind.__name__ not in AT_START | INSIDE
    }
    assert missing == set()


def test_slugs_are_for_programs_and_titles_for_people() -> None:
    for problem in PROBLEMS.values():
        assert problem.slug == problem.slug.lower().replace(" ", "-")
        assert problem.title[0].isupper()
        assert not problem.title.endswith(".")


def test_a_limit_of_bytes_is_413_and_any_other_422() -> None:
    large = LimitExceededError(subject="The body", actual=2, limit=1, unit="bytes")
    deep = LimitExceededError(subject="The body: nesting", actual=65, limit=64, unit="levels")
    assert (refused(large).status_code, refused(deep).status_code) == (413, 422)


def test_not_now_says_when_to_come_back() -> None:
    for error in (StoreUnavailableError(problem="gone"), OverloadedError(moving=9, retry_after=1)):
        answer = refused(error)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_nobody_is_promised_that_a_request_is_tried_again() -> None:
    answer = refused(StoreUnavailableError(problem="gone"))
    assert b"(gone); nothing was stored. Try again." in answer.body
    assert b"will be tried" not in answer.body


def test_an_unknown_commit_says_to_repeat_with_the_same_key() -> None:
    answer = refused(CommitUnknownError())
    assert answer.status_code == 503
    assert b"unknown: repeat with the same Idempotency-Key" in answer.body


def test_an_illegal_transition_names_both() -> None:
    answer = refused(InvalidTransitionError(from_status="failed", to_status="running", reason="retry"))
    assert answer.status_code == 409
    assert b'"from":"failed","to":"running"' in answer.body


def test_a_fault_of_ours_is_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = refused(CorruptHistoryError(instance_id="0-1", version=3, problem="secret inside"))
    assert answer.status_code == 500
    assert b"secret" not in answer.body
    assert "secret inside" in caplog.text


async def test_an_unexpected_fault_is_500_without_its_inside() -> None:
    """No server's parts: every route that needs them fails as nobody foresaw."""
    transport = httpx.ASGITransport(create_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tenuto") as http:
        answer = await http.get("/v1/instances/0-1")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "NoneType" not in answer.text
