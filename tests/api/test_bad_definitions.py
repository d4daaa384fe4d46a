"""Definitions and data made to do harm: refused with a type, at deploy or when they run, and nothing else changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.limits import MAX_DEFINITION_BYTES, MAX_ITEMS, MAX_VALUE_BYTES
from tests.api.conftest import APPROVAL, HELLO, YAML, Server


def one_step(**fields: object) -> str:
    step = {"id": "s", "type": "task", "action": "worker:q/s", "readOnly": True, "timeout": "30s", **fields}
    return json.dumps({"name": "bad", "steps": [step]})


def decision(condition: str) -> str:
    ways = [{"condition": condition, "next": "done"}, {"next": "done"}]
    steps = [{"id": "s", "type": "decision", "next": ways}, {"id": "done", "type": "succeed"}]
    return json.dumps({"name": "bad", "steps": steps})


def mapped(items: object) -> str:
    inside = [{"id": "s", "type": "task", "action": "worker:q/s", "readOnly": True, "timeout": "30s"}]
    return json.dumps({"name": "bad", "steps": [{"id": "m", "type": "map", "items": items, "steps": inside}]})


DEFINITIONS: dict[str, tuple[str, int, str]] = {
    "too large": (HELLO + "#" * MAX_DEFINITION_BYTES, 413, "limit-exceeded"),
    "too deep": (one_step(input=json.loads("[" * 63 + "]" * 63)), 422, "limit-exceeded"),
    "bottomless": ("[" * 100_000, 422, "limit-exceeded"),
    "laughter": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", 422, "definition-invalid"),
    "too many operators": (decision(" || ".join(["$.a"] * 102)), 422, "definition-invalid"),
    "too many brackets": (decision("(" * 500 + "$.a" + ")" * 500), 422, "definition-invalid"),
    "filters in filters": (decision("$.a[?@.b[?@.c[?@.d]]]"), 422, "definition-invalid"),
    "every way at once": (
        decision("count($[*,*][*,*][*,*][*,*][*,*]) == 1"),
        422,
        "definition-invalid",
    ),
    "everything below everything": (decision("$.a[?@..b]"), 422, "definition-invalid"),
    "a pattern that explodes": (decision("match($.a, 'a{99}{99}{99}')"), 422, "definition-invalid"),
    "a long expression": (one_step(input="$." + "a" * 2_000), 422, "definition-invalid"),
    "more items than a map takes": (mapped([0] * (MAX_ITEMS + 1)), 422, "definition-invalid"),
    "a script": (
        one_step(input="!!python/object/apply:os.system [ls]", timeout={}),
        422,
        "definition-invalid",
    ),
}


@pytest.mark.parametrize("name", DEFINITIONS)
async def test_a_definition_that_would_do_harm_is_refused_and_nothing_is_written(
    server: Server, name: str
) -> None:
    text, status, slug = DEFINITIONS[name]
    before = await server.events()
    answer = await server.http.put("/v1/definitions/bad", content=text, headers=YAML)
    assert answer.status_code == status, answer.text[:500]
    assert answer.json()["type"] == f"urn:tenuto:problem:{slug}", answer.text[:500]
    assert await server.events() == before
    await server.get("/v1/definitions/bad", 404)


async def test_a_map_over_a_million_items_is_refused_with_its_body(server: Server) -> None:
    await server.deploy(mapped("$.input.items"), "bad")
    before = await server.events()
    body = {"definition": "bad", "input": {"items": [0] * 1_000_000}}
    problem = await server.post("/v1/instances", body, 413)
    assert problem["type"] == "urn:tenuto:problem:limit-exceeded"
    assert await server.events() == before


async def test_a_map_over_more_items_than_it_takes_fails_and_starts_none(server: Server) -> None:
    await server.deploy(mapped("$.input.items"), "bad")
    started = await server.start("bad", {"items": [0] * (MAX_ITEMS + 1)})
    view = await server.get(f"/v1/instances/{started['id']}")
    assert (view["status"], view["error"]["type"]) == ("failed", "LimitExceededError")
    assert str(MAX_ITEMS) in view["error"]["message"]
    assert await server.poll("q", wait="0s") == []


BOMBS: dict[str, Any] = {
    "text": {"$concat": ["$.input.text"] * 100},
    "list": ["$.input.text"] * 100,
    "object": {f"k{number}": "$.input.text" for number in range(100)},
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_template_that_multiplies_its_data_fails_its_step_and_is_never_made(
    server: Server, name: str
) -> None:
    await server.deploy(one_step(input=BOMBS[name]), "bad")
    started = await server.start("bad", {"text": "x" * 200_000})
    view = await server.get(f"/v1/instances/{started['id']}")
    assert (view["status"], view["error"]["type"]) == ("failed", "LimitExceededError")
    assert str(MAX_VALUE_BYTES) in view["error"]["message"].replace(",", "")
    assert await server.poll("q", wait="0s") == []


async def test_a_signal_to_an_ended_instance_is_refused(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    started = await server.start("approval")
    path = f"/v1/instances/{started['id']}/signals/answer"
    await server.post(path, {"signalId": "1", "payload": "yes"})
    before = await server.events()
    problem = await server.post(path, {"signalId": "2", "payload": "no"}, 409)
    assert problem["type"] == "urn:tenuto:problem:instance-ended"
    assert await server.events() == before


RESULTS: dict[str, dict[str, Any]] = {
    "a token that is a number": {"token": 7, "output": 1},
    "an unknown field": {"token": "t", "result": 1},
    "a batch that is an object": {"token": "t", "output": 1, "results": {}},
}


@pytest.mark.parametrize("name", RESULTS)
async def test_a_result_of_another_shape_is_refused(server: Server, name: str) -> None:
    await server.deploy(HELLO, "hello")
    await server.start("hello", {"name": "Ada"})
    (task,) = await server.poll("greetings")
    item = RESULTS[name] | ({"token": task["token"]} if RESULTS[name]["token"] == "t" else {})
    before = await server.events()
    problem = await server.post("/v1/tasks/complete", {"results": [item]}, 422)
    assert problem["type"] == "urn:tenuto:problem:invalid-body"
    assert await server.events() == before


async def test_a_result_without_what_the_definition_reads_is_kept_and_fails_its_step(server: Server) -> None:
    """Its effect has happened, so it is on record; an operator's result, which has none, is refused instead."""
    fields = {
        "output": {"paid": "$.amount"},
        "onMaxRetriesExceeded": "pause",
        "retryPolicy": {"maxAttempts": 1},
    }
    await server.deploy(one_step(**fields), "bad")
    first = await server.start("bad")
    await server.work("q", [1, 2, 3])
    view = await server.get(f"/v1/instances/{first['id']}")
    assert (view["status"], view["error"]["type"]) == ("failed", "MappingError")
    second = await server.start("bad")
    await server.work("q", type="Declined", message="no")
    before = await server.events()
    body = {"reason": "by hand", "output": "paid"}
    problem = await server.post(f"/v1/instances/{second['id']}/resolve", body, 422)
    assert problem["type"] == "urn:tenuto:problem:missing-value"
    assert await server.events() == before


@pytest.mark.parametrize("act", ["cancel", "terminate", "pause", "compensate", "retry", "resolve", "data"])
async def test_an_act_without_a_reason_changes_nothing(server: Server, act: str) -> None:
    await server.deploy(APPROVAL, "approval")
    started = await server.start("approval")
    before = await server.events()
    for body in ({}, {"reason": ""}, {"reason": None}):
        problem = await server.post(f"/v1/instances/{started['id']}/{act}", body, 422)
        assert problem["type"] == "urn:tenuto:problem:invalid-body"
    assert await server.events() == before
