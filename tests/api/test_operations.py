"""For those who run it: alive, ready, projections, metrics."""

from __future__ import annotations

import psycopg
from psycopg import sql

from api.routes import examples
from tests.api.conftest import APPROVAL, Server


async def test_a_server_with_its_database_is_ready(server: Server) -> None:
    assert await server.get("/healthz") == {"status": "alive"}
    assert await server.get("/readyz") == {"status": "ready"}


async def test_a_server_that_stops_is_alive_and_not_ready(server: Server) -> None:
    server.wiring.draining.set()
    assert (await server.get("/readyz", 503))["type"] == "urn:tenuto:problem:not-ready"
    await server.get("/healthz")


async def test_a_server_without_its_database_is_alive_and_not_ready(server: Server) -> None:
    await server.wiring.store.close()
    answer = await server.http.get("/readyz")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    problem = await server.get("/v1/instances/0-1", 503)
    assert problem["type"] == "urn:tenuto:problem:store-unavailable"
    await server.get("/healthz")


async def test_projections_say_how_far_they_are_and_can_be_rebuilt(server: Server) -> None:
    """S211."""
    await server.deploy(APPROVAL, "approval")
    await server.start("approval")
    body = await server.get("/v1/projections")
    assert {one["name"] for one in body["projections"]} >= {"instances", "transitions", "step_executions"}
    assert body["projections"][0].keys() == examples.PROGRESS.keys()

    check = await server.http.post("/v1/projections/instances/rebuild", params={"swap": "false"})
    assert check.json().keys() == examples.COMPARISON.keys()
    assert check.json()["equal"] is True
    rebuilt = await server.http.post("/v1/projections/instances/rebuild")
    assert rebuilt.json()["equal"] is True
    missing = await server.http.post("/v1/projections/nothing/rebuild")
    assert missing.status_code == 404


async def test_a_rebuild_says_what_was_wrong_and_mends_it(server: Server, database: str, schema: str) -> None:
    await server.deploy(APPROVAL, "approval")
    started = await server.http.post("/v1/instances", json={"definition": "approval"})
    position = started.headers["Tenuto-Position"]
    await server.get("/v1/instances", minPosition=position)
    spoil = sql.SQL("UPDATE {}.instances SET status = 'failed'").format(sql.Identifier(f"{schema}_views"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(spoil)
    answer = (await server.http.post("/v1/projections/instances/rebuild")).json()
    assert (answer["equal"], answer["onlyLive"], answer["onlyRebuilt"]) == (False, 1, 1)
    (line,) = (await server.get("/v1/instances"))["instances"]
    assert line["status"] == "waiting"


async def test_metrics_are_prometheus_text(server: Server) -> None:
    answer = await server.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert all(float(line.rpartition(" ")[2]) >= 0 for line in lines)
    assert 'tenuto_projection_lag_events{projection="instances"}' in answer.text
