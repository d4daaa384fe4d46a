"""Definitions over HTTP: what is accepted, and what is refused with its place and without a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.conftest import HELLO, YAML, Server

ORDER = Path(__file__).parents[2] / "examples" / "order" / "order.yaml"
STEP = "{id: a, type: task, action: http:payments/charge, readOnly: true, timeout: 1s"

# What is wrong → (text, code, line, step)
REFUSED: dict[str, tuple[str, str | None, int, str | None]] = {
    "malformed YAML": ("name: bad\nsteps:\n  - {id: a, type: [\n", None, 4, None),
    "a duplicate key": ("name: bad\nname: worse\nsteps: []\n", None, 2, None),
    "an unknown step type": ("name: bad\nsteps:\n  - {id: a, type: tusk}\n", "unknown-step-type", 3, "a"),
    "an unknown next": (f"name: bad\nsteps:\n  - {STEP},\n     next: nowhere}}\n", None, 4, "a"),
    "a bad condition": (
        "name: bad\nsteps:\n  - {id: a, type: decision, next: [{condition: '$.x === 1', next: a}]}\n",
        None,
        3,
        "a",
    ),
    "an unknown field": (f"name: bad\nsteps:\n  - {STEP},\n     nxt: b}}\n", "unknown-field", 4, "a"),
    "a version that is a number": (
        "name: bad\nversion: 1.10\nsteps:\n  - {id: a, type: succeed}\n",
        None,
        2,
        None,
    ),
}


async def test_a_new_definition_is_201_and_the_same_text_is_200(server: Server) -> None:
    first = await server.http.put("/v1/definitions/hello", content=HELLO, headers=YAML)
    again = await server.http.put("/v1/definitions/hello", content=HELLO, headers=YAML)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["Location"] == "/v1/definitions/hello/versions/1"
    assert first.json()["hash"] == again.json()["hash"]
    assert (first.json()["created"], again.json()["created"]) == (True, False)


async def test_other_text_under_a_deployed_version_is_409(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    other = HELLO.replace("30s", "40s")
    answer = await server.http.put("/v1/definitions/hello", content=other, headers=YAML)
    assert answer.status_code == 409
    assert answer.json()["version"] == "1"


async def test_json_is_taken_too_and_gets_the_next_version(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    body = {"name": "hello", "steps": [{"id": "done", "type": "succeed", "result": 1}]}
    answer = await server.http.put("/v1/definitions/hello", json=body)
    assert answer.status_code == 201
    assert answer.json()["version"] == "2"
    assert (await server.start("hello"))["definitionVersion"] == "2"
    assert (await server.start("hello", {"name": "x"}, version="1"))["definitionVersion"] == "1"


async def test_versions_are_read_as_they_were_sent(server: Server) -> None:
    await server.http.put("/v1/definitions/hello", content=HELLO, headers=YAML | {"Tenuto-Actor": "ada"})
    whole = await server.get("/v1/definitions/hello")
    assert whole["source"] == HELLO
    assert whole["document"]["steps"][0]["id"] == "greet"
    assert whole["deployedBy"] == "ada"
    assert await server.get("/v1/definitions/hello/versions/1") == whole
    (line,) = (await server.get("/v1/definitions/hello/versions"))["versions"]
    assert line.items() <= whole.items()
    for path in ("nothing", "nothing/versions", "hello/versions/7"):
        problem = await server.get(f"/v1/definitions/{path}", 404)
        assert problem["type"] == "urn:tenuto:problem:unknown-definition"


async def test_definitions_are_paged_by_name(server: Server) -> None:
    for name in ("c", "a", "b"):
        await server.deploy(f"name: {name}\nsteps:\n  - {{id: done, type: succeed}}\n", name)
    first = await server.get("/v1/definitions", limit=2)
    rest = await server.get("/v1/definitions", limit=2, cursor=first["next"])
    assert [line["name"] for line in first["definitions"] + rest["definitions"]] == ["a", "b", "c"]
    assert rest["next"] is None


@pytest.mark.parametrize("name", REFUSED)
async def test_a_faulty_definition_is_refused_with_its_place_and_nothing_is_stored(
    server: Server, name: str
) -> None:
    text, code, line, step = REFUSED[name]
    answer = await server.http.put(
        "/v1/definitions/bad", params={"source": "flows/bad.yaml"}, content=text, headers=YAML
    )
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["type"] == "urn:tenuto:problem:definition-invalid"
    finding = problem["findings"][0]
    assert (finding["source"], finding["severity"]) == ("flows/bad.yaml", "error")
    assert finding["line"] == line, finding
    assert finding["column"] >= 1
    assert finding.get("step") == step
    assert code in (None, finding["code"])
    assert await server.events() == 0
    await server.get("/v1/definitions/bad", 404)


async def test_text_that_is_no_utf_8_is_refused_with_its_place(server: Server) -> None:
    answer = await server.http.put("/v1/definitions/bad", content=b"name: bad\nsteps: \xff\n", headers=YAML)
    (finding,) = answer.json()["findings"]
    assert (answer.status_code, finding["line"], finding["column"]) == (422, 2, 8)


async def test_the_name_in_the_address_is_the_name_in_the_text(server: Server) -> None:
    answer = await server.http.put("/v1/definitions/other", content=HELLO, headers=YAML)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:tenuto:problem:name-mismatch"
    assert await server.events() == 0


async def test_a_dry_run_stores_nothing(server: Server) -> None:
    answer = await server.http.put(
        "/v1/definitions/hello", params={"dryRun": "true"}, content=HELLO, headers=YAML
    )
    assert (answer.status_code, answer.json()["created"]) == (200, False)
    assert await server.events() == 0


async def test_unknown_services_are_warnings_and_with_strict_refusals(server: Server) -> None:
    text = ORDER.read_text()
    strict = await server.http.put(
        "/v1/definitions/order", params={"strict": "true"}, content=text, headers=YAML
    )
    assert strict.status_code == 422, strict.text
    assert {one["code"] for one in strict.json()["findings"]} == {"unknown-service"}
    assert await server.events() == 0

    answer = await server.http.put("/v1/definitions/order", content=text, headers=YAML)
    assert answer.status_code == 201, answer.text
    unknown = [one for one in answer.json()["findings"] if one["code"] == "unknown-service"]
    assert all("'payments'" not in one["message"] for one in unknown), "this server knows payments"
    for finding in unknown:
        line = text.splitlines()[finding["line"] - 1]
        assert line[finding["column"] - 1 :].startswith("http:"), finding


@pytest.mark.parametrize("kind", ["text/html", "multipart/form-data"])
async def test_other_kinds_of_bodies_are_415(server: Server, kind: str) -> None:
    answer = await server.http.put("/v1/definitions/hello", content=HELLO, headers={"Content-Type": kind})
    assert answer.status_code == 415


async def test_a_definition_too_large_is_413(server: Server) -> None:
    answer = await server.http.put("/v1/definitions/hello", content="#" * (1024 * 1024 + 1), headers=YAML)
    assert answer.status_code == 413
    assert json.loads(answer.text)["limit"] == 1024 * 1024
