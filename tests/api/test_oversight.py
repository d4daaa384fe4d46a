"""Queues, alerts, waits, deadlines, statistics: what those who watch over the instances are told."""

from __future__ import annotations

from typing import Any

from api.routes import examples
from api.settings import Pool
from tests.api.conftest import APPROVAL, BOOKING, HELLO, Server, serving

LATE = """\
name: late
version: "1"
deadlines: {answered: {after: start, within: 1h, reach: {step: ask}}}
steps:
  - {id: ask, type: wait, signal: answer, for: 24h, onTimeout: over, next: done}
  - {id: done, type: succeed}
  - {id: over, type: fail, error: {type: LateError, message: nobody answered}}
"""


async def position(server: Server) -> int:
    """Of the last event that there is."""
    answer = await server.http.post("/v1/instances", json={"definition": "hello", "input": {"name": "x"}})
    return int(answer.headers["Tenuto-Position"])


async def stuck(server: Server) -> str:
    """The id of an instance whose second step has used up its attempts."""
    await server.deploy(BOOKING, "booking")
    instance = await server.start("booking")
    await server.work("travel", {"ok": True})
    await server.work("travel", type="BusyError", message="try later")
    return str(instance["id"])


async def test_a_queue_says_how_deep_it_is_and_how_long_tasks_waited(server: Server) -> None:
    """S198, S199, S200."""
    await server.deploy(HELLO, "hello")
    await server.start("hello", {"name": "Ada"})
    await server.start("hello", {"name": "Bob"})
    (task,) = await server.poll("greetings")
    body = await server.get("/v1/queues", minPosition=await position(server))
    (queue,) = body["queues"]
    assert queue.keys() == examples.QUEUE.keys()
    assert (queue["queue"], queue["depth"], queue["running"], queue["sessions"]) == ("greetings", 2, 1, 1)
    assert (queue["taken"], queue["pollers"]) == (1, 0)
    assert queue["oldestAt"] is not None
    assert 0 < queue["latencyP50Ms"] <= queue["latencyP99Ms"] < 60_000
    assert task["instanceId"]
    assert (await server.get("/v1/queues", 422, window="2h"))["name"] == "window"


async def test_a_pool_is_told_how_many_workers_it_should_have(database: str, schema: str) -> None:
    """S198, S201: the brief's four pools, and one that is asked for more than it may have."""
    pools = {
        "payment": Pool(queue="payment", min_instances=5, max_instances=50, scale_threshold=100),
        "inventory": Pool(queue="inventory", min_instances=10, max_instances=100, scale_threshold=200),
        "shipping": Pool(
            queue="shipping",
            min_instances=3,
            max_instances=20,
            scale_metric="queue_latency_p99",
            scale_threshold=5000,
        ),
        "notification": Pool(queue="notification", min_instances=2, max_instances=20, scale_threshold=1000),
        "greetings": Pool(queue="greetings", min_instances=0, max_instances=2, scale_threshold=1),
    }
    async with serving(database, schema, pools=pools) as server:
        await server.deploy(HELLO, "hello")
        asked = await server.get("/v1/queues", minPosition=1)
        assert asked["pools"][0].keys() == examples.POOL.keys()
        desired = {pool["name"]: pool["desiredInstances"] for pool in asked["pools"]}
        assert desired == {"payment": 5, "inventory": 10, "shipping": 3, "notification": 2, "greetings": 0}
        for name in ("Ada", "Bob", "Eve"):
            await server.start("hello", {"name": name})
        (greetings,) = [
            pool for pool in (await server.get("/v1/queues"))["pools"] if pool["name"] == "greetings"
        ]
        assert (greetings["value"], greetings["desiredInstances"]) == (3, 2)


async def test_alerts_are_listed_with_the_seven_fields_until_somebody_has_looked(server: Server) -> None:
    """S150."""
    await server.deploy(HELLO, "hello")
    instance = await stuck(server)
    body = await server.get("/v1/alerts", minPosition=await position(server), state="open")
    (alert,) = body["alerts"]
    assert alert.keys() == examples.ALERT.keys()
    assert (alert["severity"], alert["workflow"], alert["instanceId"]) == ("high", "booking", instance)
    assert (alert["step"], alert["retryCount"], alert["action"]) == ("pay", 1, "pause")
    assert alert["error"]["type"] == "BusyError"
    assert "manual intervention may be required" in alert["message"]

    path = f"/v1/alerts/{alert['id'].replace('#', '%23')}/acknowledge"
    await server.post(path, {"reason": "I am on it", "actor": "ada"})
    now = await position(server)
    assert (await server.get("/v1/alerts", minPosition=now, state="open"))["alerts"] == []
    (alert,) = (await server.get("/v1/alerts", state="acknowledged", severity="high"))["alerts"]
    assert (alert["acknowledgedBy"], alert["acknowledgedBecause"]) == ("ada", "I am on it")
    assert (await server.get("/v1/alerts", definition="hello"))["alerts"] == []
    assert (await server.get("/v1/alerts", instance=instance))["alerts"] == [alert]


async def test_waits_say_for_what_under_which_key_and_since_when(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    await server.deploy(APPROVAL, "approval")
    first = await server.start("approval", correlationId="order-17")
    second = await server.start("approval")
    person = await stuck(server)
    now = await position(server)
    waits = (await server.get("/v1/waits", minPosition=now))["waits"]
    assert waits[0].keys() == examples.WAIT.keys()
    assert [(one["instanceId"], one["waitingFor"]) for one in waits] == [
        (first["id"], "signal"),
        (second["id"], "signal"),
        (person, "manual_resolution"),
    ]
    assert [(one["signal"], one["correlationKey"]) for one in waits] == [
        ("answer", "order-17"),
        ("answer", None),
        (None, None),
    ]
    assert waits == sorted(waits, key=lambda one: one["since"])
    assert (await server.get("/v1/waits", waitingFor="manual_resolution"))["waits"] == waits[2:]
    page = await server.get("/v1/waits", limit=2)
    rest = await server.get("/v1/waits", limit=2, cursor=page["next"])
    assert page["waits"] + rest["waits"] == waits
    assert rest["next"] is None
    await server.get("/v1/waits", 422, cursor=page["next"], signal="answer")
    refused = await server.get("/v1/waits", 422, waitingFor="child")
    assert "it must be 'signal', 'timer' or 'manual_resolution'" in refused["detail"], "it would find nothing"
    await server.get("/v1/deadlines", 422, cursor=page["next"])

    await server.post(f"/v1/instances/{first['id']}/signals/answer", {"signalId": "s", "payload": 1})
    waits = (await server.get("/v1/waits", minPosition=await position(server), signal="answer"))["waits"]
    assert [one["instanceId"] for one in waits] == [second["id"]]


async def test_deadlines_are_listed_by_when_they_are_due(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    await server.deploy(LATE, "late")
    open_one, met, void = [(await server.start("late"))["id"] for _ in range(3)]
    await server.post(f"/v1/instances/{met}/signals/answer", {"signalId": "s", "payload": 1})
    await server.post(f"/v1/instances/{void}/cancel", {"reason": "r"})

    async def listed(**query: Any) -> dict[str, str]:
        body = await server.get("/v1/deadlines", minPosition=now, **query)
        return {one["instanceId"]: one["standing"] for one in body["deadlines"]}

    now = await position(server)
    (one, *_) = (await server.get("/v1/deadlines", minPosition=now))["deadlines"]
    assert one.keys() == examples.DEADLINE.keys()
    assert await listed() == {open_one: "open", met: "met", void: "void"}
    assert await listed(standing="open") == {open_one: "open"}
    assert await listed(standing="met") == {met: "met"}
    assert await listed(dueWithin="59m") == {}
    assert len(await listed(dueWithin="61m", definition="late")) == 3
    assert len(await listed(limit=1)) == 1


async def test_a_definition_says_how_its_steps_do(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    instance = await stuck(server)
    await server.post(f"/v1/instances/{instance}/cancel", {"reason": "no longer wanted"})
    await server.work("travel", {"undone": True})
    body = await server.get("/v1/definitions/booking/statistics", minPosition=await position(server))
    (version,) = body["versions"]
    assert version.keys() == examples.STATISTICS.keys()
    assert (version["version"], version["started"]) == ("1", 1)
    assert (version["byStatus"], version["byOutcome"]) == ({"completed": 1}, {"cancelled": 1})
    assert version["duration"]["p50Ms"] > 0
    steps = {step["step"]: step for step in version["steps"]}
    assert steps["book"].keys() == examples.STATISTICS["steps"][0].keys()
    assert (steps["book"]["completed"], steps["book"]["compensated"]) == (1, 1)
    assert (steps["pay"]["failed"], steps["pay"]["failureRate"]) == (1, 1.0)
    assert steps["pay"]["duration"] == {"p50Ms": None, "p90Ms": None, "p99Ms": None}
    assert (await server.get("/v1/definitions/approval/statistics", 404))["name"] == "approval"
    await server.deploy(APPROVAL, "approval")
    assert (await server.get("/v1/definitions/approval/statistics"))["versions"] == []
