"""For those who run it: alive, ready, projections, metrics."""

from __future__ import annotations

import httpx
import msgspec
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from api.app import create_app
from api.routes import examples
from projections.catalogue import PROJECTIONS
from projections.oversight import Oversight
from tests.api.conftest import APPROVAL, HELLO, Server


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
    """S199, S200, S211."""
    await server.deploy(APPROVAL, "approval")
    await server.deploy(HELLO, "hello")
    await server.start("approval")
    started = await server.http.post("/v1/instances", json={"definition": "hello", "input": {"name": "x"}})
    position = started.headers["Tenuto-Position"]
    for path in ("/v1/queues", "/v1/instances/counts"):
        await server.get(path, minPosition=position)
    answer = await server.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert all(sample.value >= 0 for family in families.values() for sample in family.samples)

    def value(name: str, **labels: str) -> float:
        (found,) = [sample.value for sample in families[name].samples if sample.labels == labels]
        return found

    assert {
        sample.labels["projection"] for sample in families["tenuto_projection_lag_events"].samples
    } == set(PROJECTIONS)
    assert value("tenuto_queue_depth", queue="greetings") == 1
    assert value("tenuto_instances", status="waiting") == value("tenuto_instances", status="running") == 1
    assert value("tenuto_database_up") == 1
    assert value("tenuto_log_position") >= float(position)


async def test_metrics_are_told_without_the_database(server: Server) -> None:
    oversight = Oversight(server.wiring.oversight._reader._pool, "nowhere", ("nowhere", "owed"))
    app = create_app(msgspec.structs.replace(server.wiring, oversight=oversight))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tenuto") as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert "tenuto_database_up 0.0" in answer.text
    assert "tenuto_projection_position" in answer.text
