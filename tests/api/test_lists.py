"""Lists of many instances: filtered, paged, and as fresh as asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from api.app import create_app
from api.routes import examples
from api.routes import lists as module
from projections.queries import Queries
from tests.api.conftest import APPROVAL, HELLO, Server


async def three(server: Server) -> dict[str, Any]:
    """One that has completed, one that waits, one that was cancelled; and the position after them."""
    await server.deploy(HELLO, "hello")
    await server.deploy(APPROVAL, "approval")
    done = await server.start("hello", {"name": "Ada"}, labels={"tier": "premium"})
    await server.work("greetings", "hi")
    waits = await server.start("approval", correlationId="c-1", labels={"tier": "basic"})
    cancelled = await server.start("approval")
    await server.post(f"/v1/instances/{cancelled['id']}/cancel", {"reason": "r", "actor": "ada"})
    last = await server.http.post("/v1/instances", json={"definition": "hello", "input": {"name": "x"}})
    return {
        "done": done["id"],
        "waits": waits["id"],
        "cancelled": cancelled["id"],
        "fresh": last.json()["id"],
        "position": int(last.headers["Tenuto-Position"]),
    }


async def listed(server: Server, names: dict[str, Any], **query: Any) -> list[str]:
    page = await server.get("/v1/instances", minPosition=names["position"], **query)
    by_id = {value: name for name, value in names.items()}
    return [by_id[one["id"]] for one in page["instances"]]


async def test_every_filter_narrows_the_list(server: Server) -> None:
    """S113–S115, S070."""
    names = await three(server)
    assert await listed(server, names) == ["fresh", "cancelled", "waits", "done"]
    assert await listed(server, names, status="waiting") == ["waits"]
    assert await listed(server, names, status=["waiting", "running"]) == ["fresh", "waits"]
    assert await listed(server, names, outcome="cancelled") == ["cancelled"]
    assert await listed(server, names, definition="hello") == ["fresh", "done"]
    assert await listed(server, names, definition="hello", version="2") == []
    assert await listed(server, names, correlationId="c-1") == ["waits"]
    assert await listed(server, names, waitingFor="signal") == ["waits"]
    assert await listed(server, names, labels="tier=premium") == ["done"]
    assert await listed(server, names, labels=["tier=premium", "a=b"]) == []
    assert await listed(server, names, paused="true") == []
    assert await listed(server, names, olderThan="1h") == []
    assert len(await listed(server, names, olderThan="0ms")) == 4
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert len(await listed(server, names, createdAfter=hour_ago)) == 4
    assert len(await listed(server, names, youngerThan="1h")) == 4
    assert await listed(server, names, youngerThan="0ms") == []
    assert await listed(server, names, text="ada") == ["done"]
    assert await listed(server, names, text="prem*") == ["done"]
    assert await listed(server, names, text="%") == []
    assert await listed(server, names, businessStatus="nothing") == []
    assert await listed(server, names, parent=names["done"]) == []
    assert await listed(server, names, createdBefore=hour_ago) == []


async def test_the_lines_have_every_field_that_the_document_shows(server: Server) -> None:
    names = await three(server)
    page = await server.get("/v1/instances", minPosition=names["position"], limit=1)
    assert page["instances"][0].keys() == examples.SUMMARY.keys()
    assert page["position"] >= names["position"]
    page = await server.get("/v1/transitions", minPosition=names["position"], instance=names["cancelled"])
    assert page["transitions"][0].keys() == examples.TRANSITION_LINE.keys()


async def test_pages_follow_one_another_and_belong_to_their_question(server: Server) -> None:
    names = await three(server)
    first = await server.get("/v1/instances", minPosition=names["position"], limit=3)
    rest = await server.get("/v1/instances", limit=3, cursor=first["next"])
    ids = [one["id"] for one in first["instances"] + rest["instances"]]
    assert ids == [names["fresh"], names["cancelled"], names["waits"], names["done"]]
    assert rest["next"] is None
    await server.get("/v1/instances", 422, status="failed", cursor=first["next"])


async def test_counts_name_every_status(server: Server) -> None:
    names = await three(server)
    counts = (await server.get("/v1/instances/counts", minPosition=names["position"]))["counts"]
    assert sum(counts.values()) == 4
    assert (counts["waiting"], counts["pending"]) == (1, 0)


async def test_transitions_are_audited_across_instances(server: Server) -> None:
    """S117, S215."""
    names = await three(server)
    page = await server.get("/v1/transitions", minPosition=names["position"], actor="ada")
    assert {one["instanceId"] for one in page["transitions"]} == {names["cancelled"]}
    assert all(one["reason"] for one in page["transitions"])
    page = await server.get("/v1/transitions", to="waiting", **{"from": "running"})
    assert {one["instanceId"] for one in page["transitions"]} == {names["waits"], names["cancelled"]}


async def test_another_namespace_has_lists_of_its_own(server: Server) -> None:
    names = await three(server)
    other = {"Tenuto-Namespace": "other"}
    query = {"minPosition": names["position"]}
    for path, key in (
        ("instances", "instances"),
        ("transitions", "transitions"),
        ("definitions", "definitions"),
    ):
        params = query if path != "definitions" else {}
        answer = await server.http.get(f"/v1/{path}", params=params, headers=other)
        assert answer.json()[key] == []


async def test_lists_that_are_not_made_yet_are_503(server: Server) -> None:
    """The first moments of a server's life: the projections make their tables while it serves."""
    queries = Queries(server.wiring.queries._reader._pool, "nowhere")
    app = create_app(msgspec.structs.replace(server.wiring, queries=queries))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tenuto") as http:
        answer = await http.get("/v1/instances")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["type"] == "urn:tenuto:problem:not-ready"


async def test_a_position_that_is_not_reached_is_503(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_WITHIN_S", 0.05)
    problem = await server.get("/v1/instances", 503, minPosition=10**9)
    assert problem["type"] == "urn:tenuto:problem:not-fresh"
