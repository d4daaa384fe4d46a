"""What must not come in: too large, too deep, no JSON, not of the shape. Refused with a type; nothing is written."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from domain.limits import MAX_BODY_BYTES, MAX_PAYLOAD_BYTES
from tests.api.conftest import APPROVAL, HELLO, Server

JSON = {"Content-Type": "application/json"}
START = b'{"definition": "hello", "input": %s}'
BODIES: dict[str, tuple[bytes, int, str]] = {
    "no JSON": (b"{", 422, "bad-json"),
    "trailing text": (b"{} {}", 422, "bad-json"),
    "NaN": (START % b"NaN", 422, "bad-json"),
    "infinity": (START % b"1e400", 422, "bad-json"),
    "NUL": (START % b'"a\\u0000b"', 422, "bad-json"),
    "NUL in a key": (START % b'{"a\\u0000": 1}', 422, "bad-json"),
    "NUL in a name": (b'{"definition": "hel\\u0000lo"}', 422, "bad-json"),
    "half a surrogate pair": (START % b'"\\ud800"', 422, "bad-json"),
    "bad UTF-8": (START % b'"\xff"', 422, "bad-json"),
    "an integer beyond 64 bits": (START % b"9223372036854775808", 422, "bad-json"),
    "a duplicate key": (b'{"definition": "hello", "definition": "order"}', 422, "bad-json"),
    "deep": (START % (b"[" * 64 + b"]" * 64), 422, "limit-exceeded"),
    "bottomless": (START % (b"[" * 100_000), 422, "limit-exceeded"),
    "a payload too large": (START % (b'"%s"' % (b"x" * MAX_PAYLOAD_BYTES)), 413, "limit-exceeded"),
    "a body too large": (START % (b'"%s"' % (b"x" * MAX_BODY_BYTES)), 413, "limit-exceeded"),
    "a list": (b"[]", 422, "invalid-body"),
    "nothing": (b"", 422, "invalid-body"),
    "an unknown field": (b'{"definition": "hello", "imput": {}}', 422, "invalid-body"),
    "a definition that is a number": (b'{"definition": 7}', 422, "invalid-body"),
    "labels that are numbers": (b'{"definition": "hello", "labels": {"a": 1}}', 422, "invalid-body"),
    "a time without a zone": (
        b'{"definition": "hello", "startAt": "2030-01-01T00:00:00"}',
        422,
        "invalid-body",
    ),
    "no priority": (b'{"definition": "hello", "priority": "urgent"}', 422, "invalid-body"),
    "a key too long": (b'{"definition": "hello", "correlationId": "%s"}' % (b"x" * 257), 422, "invalid-body"),
    "a definition nobody knows": (b'{"definition": "nothing"}', 404, "unknown-definition"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_start_is_refused_and_nothing_is_written(server: Server, name: str) -> None:
    content, status, slug = BODIES[name]
    await server.deploy(HELLO, "hello")
    before = await server.events()
    answer = await server.http.post("/v1/instances", content=content, headers=JSON)
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:tenuto:problem:{slug}"
    assert answer.json()["status"] == status
    assert await server.events() == before


async def test_a_body_is_cut_off_whatever_its_header_says(server: Server) -> None:
    """Chunks, without a length: refused as soon as there are too many, not after all of them."""
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 64 * 1024
            yield b" " * 64 * 1024

    answer = await server.http.post("/v1/instances", content=chunks(), headers=JSON)
    assert answer.status_code == 413
    assert sent <= MAX_BODY_BYTES + 2 * 64 * 1024


async def test_input_that_does_not_match_its_schema_is_refused(server: Server) -> None:
    text = HELLO.replace("steps:", "inputSchema: {type: object, required: [name]}\nsteps:")
    await server.deploy(text, "hello")
    before = await server.events()
    problem = await server.post("/v1/instances", {"definition": "hello", "input": {}}, 422)
    assert problem["type"] == "urn:tenuto:problem:schema-mismatch"
    assert await server.events() == before


LARGE = '"%s"' % ("x" * MAX_PAYLOAD_BYTES)
PAYLOADS = {
    "/signals/answer": '{"signalId": "s", "payload": %s}',
    "/data": '{"reason": "r", "data": {"a": %s}}',
    "/resolve": '{"reason": "r", "output": %s}',
}


@pytest.mark.parametrize("path", PAYLOADS)
async def test_payloads_have_one_limit_wherever_they_come_in(server: Server, path: str) -> None:
    await server.deploy(APPROVAL, "approval")
    started = await server.start("approval")
    before = await server.events()
    answer = await server.http.post(
        f"/v1/instances/{started['id']}{path}", content=PAYLOADS[path] % LARGE, headers=JSON
    )
    assert answer.status_code == 413
    assert answer.json()["limit"] == MAX_PAYLOAD_BYTES
    assert await server.events() == before


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("DELETE", "/v1/instances", 405, "method-not-allowed"),
        ("GET", "/v1/instances?stauts=failed", 422, "unknown-parameter"),
        ("GET", "/v1/instances?status=broken", 422, "invalid-parameter"),
        ("GET", "/v1/instances?limit=1001", 422, "invalid-parameter"),
        ("GET", "/v1/instances?limit=0", 422, "invalid-parameter"),
        ("GET", "/v1/instances?cursor=nonsense", 422, "invalid-cursor"),
        ("GET", "/v1/instances?labels=novalue", 422, "invalid-parameter"),
        ("GET", "/v1/instances?olderThan=1y", 422, "bad-duration"),
        ("GET", "/v1/instances?createdAfter=2026-01-01T00:00:00", 422, "invalid-parameter"),
        ("GET", "/v1/instances/a%00b", 422, "unstorable-text"),
        ("GET", "/v1/definitions/a%00b", 422, "unstorable-text"),
        ("GET", f"/v1/instances/{'x' * 2000}", 413, "limit-exceeded"),
        ("POST", "/v1/instances?wiat=1s", 422, "unknown-parameter"),
        ("POST", "/v1/instances?wait=soon", 422, "bad-duration"),
        ("POST", "/v1/tasks/poll?wait=1s", 422, "unknown-parameter"),
    ],
)
async def test_an_address_that_does_not_fit_is_a_problem(
    server: Server, method: str, path: str, status: int, slug: str
) -> None:
    answer = await server.http.request(method, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:tenuto:problem:{slug}"


async def test_a_parameter_that_is_needed_is_said_to_be_missing(server: Server) -> None:
    answer = await server.get("/v1/instances/0-1/diff", 422)
    assert answer["detail"] == "query from is missing"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("status=waiting&status=nonsense", "query status is 'nonsense'; it must be"),
        (
            "status=nonsense",
            "it must be 'pending', 'running', 'waiting', 'compensating', 'completed' or 'failed'",
        ),
        ("limit=0", "query limit is '0'; it must be greater than or equal to 1"),
        ("limit=0&paused=9", "query paused is '9'; it must be a valid boolean"),
    ],
)
async def test_a_parameter_is_refused_with_what_is_allowed(server: Server, query: str, said: str) -> None:
    answer = await server.http.get(f"/v1/instances?{query}")
    assert answer.status_code == 422
    problem = answer.json()
    assert said in problem["detail"]
    assert "Input" not in problem["detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("Tenuto-Namespace", "no spaces"), ("Tenuto-Actor", ""), ("Idempotency-Key", "x" * 257)],
)
async def test_a_header_that_does_not_fit_is_refused_by_name(server: Server, name: str, value: str) -> None:
    await server.deploy(HELLO, "hello")
    problem = await server.http.post("/v1/instances", json={"definition": "hello"}, headers={name: value})
    assert problem.status_code == 422
    assert problem.json()["name"] == name


async def test_what_is_no_json_by_its_type_is_415(server: Server) -> None:
    answer = await server.http.post("/v1/instances", content=b"<a/>", headers={"Content-Type": "text/xml"})
    assert answer.status_code == 415
