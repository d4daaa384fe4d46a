"""What-if over HTTP, and the page that shows it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from api.routes import examples
from tenuto.cli.insight import _added, _print_what_if
from tests.api.conftest import HELLO, Server
from tests.api.test_insight import spoil
from tests.test_docs import ROOT, YAML

PAGE = (ROOT / "docs/how-to/what-if.md").read_text()
OLD, NEW = YAML.findall(PAGE)
SHOWN = re.findall(r"^```\n(\d.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]


async def ordered(server: Server, *amounts: int) -> list[str]:
    """Orders of these amounts, served to their end."""
    await server.deploy(OLD, "orders")
    ids = []
    for amount in amounts:
        started = await server.start("orders", labels={"size": "large" if amount > 1_000 else "small"})
        ids.append(started["id"])
        await server.work("shop", {"amount": amount})
        if amount > 1_000:
            await server.work("shop", {})
        await server.work("shop", {"ok": True})
    streams = await server.wiring.store.read(ids[-1])
    assert await server.wiring.runner.wait_for(streams[-1].position, 10)
    return ids


async def ask(server: Server, **body: Any) -> Any:
    return await server.post("/v1/definitions/orders/what-if", {"text": NEW, **body})


async def test_the_page_shows_what_the_command_says(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = await ordered(server, 200, 700, 1_500)
    events = await server.events()
    answer = await ask(server, since="30d")
    assert answer.keys() == examples.WHAT_IF.keys()
    assert answer["groups"][0].keys() == examples.WHAT_IF["groups"][0].keys()
    assert await server.events() == events, "nothing is written"
    _print_what_if(_added({}, answer))
    printed = capsys.readouterr().out
    for id in ids:
        printed = printed.replace(id, "0-0199…")
    assert [line.split() for line in printed.splitlines()] == [line.split() for line in SHOWN.splitlines()]
    assert answer["groups"][0]["examples"][0]["instance"] == ids[1]


async def test_filters_and_pages(server: Server) -> None:
    ids = await ordered(server, 200, 700, 1_500)
    first = await ask(server, limit=2, each=True)
    assert [one["instance"] for one in first["instances"]] == sorted([ids[2], ids[1]])
    second = await ask(server, limit=2, cursor=first["next"])
    assert (second["judged"], second["next"]) == (1, None)
    assert (await ask(server, labels={"size": "large"}))["judged"] == 1
    assert (await ask(server, status=["waiting"]))["judged"] == 0
    assert (await ask(server, versions=["1"]))["judged"] == 3
    total = _added(_added({}, first), second)
    assert (total["judged"], total["same"], total["diverged"]) == (3, 2, 1)


async def test_one_verdict_says_all_there_is_to_know(server: Server) -> None:
    await ordered(server, 700)
    (one,) = (await ask(server, each=True))["instances"]
    verdict = one["verdict"]
    assert (verdict["went"], verdict["execution"], verdict["recordedEnd"]) == (
        "diverged",
        "choose#1",
        "succeeded",
    )
    assert verdict["missing"] == [{"execution": "review#1", "action": "worker:shop/review", "attempt": 1}]


async def test_what_is_asked_wrongly_is_refused(server: Server) -> None:
    await server.deploy(OLD, "orders")
    path = "/v1/definitions/orders/what-if"
    for body, slug in [
        ({}, "invalid-body"),
        ({"text": NEW, "document": {}}, "invalid-body"),
        ({"text": "name: [", "since": "30d"}, "definition-invalid"),
        ({"text": NEW, "since": "yesterday"}, "bad-duration"),
        ({"text": NEW, "limit": 0}, "invalid-body"),
        ({"text": NEW, "cursor": "x"}, "invalid-cursor"),
        ({"text": NEW, "status": ["asleep"]}, "invalid-body"),
    ]:
        problem = await server.post(path, body, 422)
        assert problem["type"] == f"urn:tenuto:problem:{slug}", body
    for address, body in [("none", {"text": HELLO}), ("orders", {"text": NEW, "versions": ["9"]})]:
        problem = await server.post(f"/v1/definitions/{address}/what-if", body, 404)
        assert problem["type"] == "urn:tenuto:problem:unknown-definition"


async def test_a_history_that_cannot_be_read_is_counted_and_the_others_are_judged(
    server: Server, database: str, schema: str
) -> None:
    ids = await ordered(server, 200, 700)
    spoil(
        database,
        schema,
        "DELETE FROM {log}.stored_events WHERE topic = 'StepStarted'"
        " AND originator_id = (SELECT min(originator_id) FROM {log}.stored_events WHERE topic = 'StepStarted')",
    )
    answer = await ask(server, each=True)
    assert (answer["judged"], answer["unreadable"], answer["diverged"]) == (2, 1, 1)
    broken = next(one for one in answer["instances"] if "verdict" not in one)
    assert broken["instance"] == ids[0]
    assert "cannot be folded" in broken["problem"]


async def test_a_server_that_stops_gives_it_up(server: Server) -> None:
    await ordered(server, 200)
    server.wiring.draining.set()
    problem = await server.post("/v1/definitions/orders/what-if", {"text": NEW}, 503)
    assert problem["type"] == "urn:tenuto:problem:not-ready"
