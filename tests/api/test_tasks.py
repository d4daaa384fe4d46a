"""The worker protocol over HTTP: leases, batches, and what becomes of results that should not count."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from api.app import create_app
from api.routes import examples
from domain.limits import MAX_PAYLOAD_BYTES
from tests.api.conftest import HELLO, Server, serving


async def running(server: Server) -> str:
    await server.deploy(HELLO, "hello")
    return str((await server.start("hello", {"name": "Ada"}))["id"])


async def test_a_task_has_every_field_that_the_document_shows(server: Server) -> None:
    instance = await running(server)
    (task,) = await server.poll("greetings")
    assert task.keys() == examples.TASK.keys()
    assert (task["instanceId"], task["execution"], task["activity"]) == (instance, "greet#1", "greet")
    assert task["idempotencyKey"] == f"{instance}/greet#1"
    assert task["input"] == {"name": "Ada"}


async def test_a_result_counts_once(server: Server) -> None:
    await running(server)
    (task,) = await server.poll("greetings")
    body = {"results": [{"token": task["token"], "output": 1}]}
    assert (await server.post("/v1/tasks/complete", body))["results"] == [{"status": "accepted"}]
    (again,) = (await server.post("/v1/tasks/complete", body))["results"]
    assert again["status"] == "duplicate"


async def test_results_may_come_with_a_poll(server: Server) -> None:
    instance = await running(server)
    (task,) = await server.poll("greetings")
    body = {
        "worker": "w",
        "session": "s1",
        "queues": ["greetings"],
        "maxTasks": 0,
        "results": [{"token": task["token"], "output": "hi"}],
    }
    assert await server.post("/v1/tasks/poll", body) == {"tasks": [], "results": [{"status": "accepted"}]}
    assert (await server.get(f"/v1/instances/{instance}"))["result"] == {"said": "hi"}


async def test_a_failure_says_when_it_may_be_tried_again(server: Server) -> None:
    instance = await running(server)
    (task,) = await server.poll("greetings")
    error = {"type": "BusyError", "message": "later", "retryAfter": "1h", "details": {"queue": 9}}
    await server.post("/v1/tasks/fail", {"results": [{"token": task["token"], "error": error}]})
    (entry,) = (await server.get(f"/v1/instances/{instance}/history"))["executions"]
    assert entry["status"] == "retrying"
    assert entry["error"]["type"] == "BusyError"
    assert entry["nextRetry"] > entry["attempts"][0]["endedAt"]


async def test_one_bad_item_never_fails_its_batch(server: Server) -> None:
    """Forged, too large and nonsensical items are refused in their place; the good one counts."""
    instance = await running(server)
    (task,) = await server.poll("greetings")
    forged = task["token"].replace("greet#1", "greet#2")
    body = {
        "worker": "w",
        "session": "s1",
        "queues": ["greetings"],
        "maxTasks": 0,
        "results": [
            {"token": forged, "output": 1},
            {"token": "nonsense", "output": 1},
            {"token": task["token"], "output": "x" * (MAX_PAYLOAD_BYTES + 1)},
            {"token": task["token"], "error": {"type": "E", "message": "m", "retryAfter": "soon"}},
            {"token": task["token"], "output": "good"},
        ],
    }
    results = (await server.post("/v1/tasks/poll", body))["results"]
    assert [one["status"] for one in results] == ["refused"] * 4 + ["accepted"]
    assert "not given out" in results[0]["reason"]
    assert str(MAX_PAYLOAD_BYTES) in results[2]["reason"]
    assert "'soon'" in results[3]["reason"]
    assert (await server.get(f"/v1/instances/{instance}"))["result"] == {"said": "good"}


async def test_a_forged_token_is_refused_in_a_batch_that_is_200(server: Server) -> None:
    instance = await running(server)
    (task,) = await server.poll("greetings")
    before = await server.events()
    forged = "0" * 20 + task["token"][20:]
    for path, item in (("complete", {"output": 1}), ("fail", {"error": {"type": "E", "message": "m"}})):
        answer = await server.post(f"/v1/tasks/{path}", {"results": [{"token": forged, **item}]})
        assert answer["results"][0]["status"] == "refused"
    answer = await server.post("/v1/tasks/heartbeat", {"session": "s1", "beats": [{"token": forged}]})
    assert answer["results"][0]["status"] == "refused"
    assert await server.events() == before
    assert (await server.get(f"/v1/instances/{instance}"))["status"] == "running"


async def test_a_stale_lease_is_ignored_and_recorded(database: str, schema: str) -> None:
    """S170: another worker takes over; the late result of the first does not count, and can be seen."""
    async with serving(database, schema, lease_seconds=0.5) as server:
        instance = await running(server)
        (lost,) = await server.poll("greetings", session="dies")
        (taken,) = await server.poll("greetings", session="lives")
        assert (taken["execution"], taken["attempt"]) == ("greet#1", 2)
        late = {"results": [{"token": lost["token"], "output": "late"}]}
        (status,) = (await server.post("/v1/tasks/complete", late))["results"]
        assert status["status"] == "ignored"
        good = {"results": [{"token": taken["token"], "output": "good"}]}
        assert (await server.post("/v1/tasks/complete", good))["results"] == [{"status": "accepted"}]
        view = await server.get(f"/v1/instances/{instance}")
        assert view["result"] == {"said": "good"}
        events = (await server.get(f"/v1/instances/{instance}/events"))["events"]
        (ignored,) = [event["payload"] for event in events if event["type"] == "ResultIgnored"]
        assert (ignored["attempt"], ignored["output"]) == (1, "late")


async def test_a_heartbeat_keeps_the_lease_and_its_progress(server: Server) -> None:
    """S169."""
    instance = await running(server)
    (task,) = await server.poll("greetings")
    body = {"session": "s1", "worker": "w1", "beats": [{"token": task["token"], "progress": {"done": 3}}]}
    assert await server.post("/v1/tasks/heartbeat", body) == {"results": [{"status": "ok"}]}
    assert await server.post("/v1/tasks/heartbeat", {"session": "s1"}) == {"results": []}
    (entry,) = (await server.get(f"/v1/instances/{instance}/history"))["executions"]
    assert entry["attempts"][0]["progress"] == {"done": 3}
    await server.post(f"/v1/instances/{instance}/terminate", {"reason": "enough"})
    (status,) = (await server.post("/v1/tasks/heartbeat", body))["results"]
    assert status["status"] == "cancelled"


async def test_a_poll_that_is_held_answers_when_work_comes(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    held = asyncio.create_task(server.poll("greetings", wait="20s"))
    started = await server.start("hello", {"name": "Ada"})
    (task,) = await held
    assert task["instanceId"] == started["id"]


async def test_a_poll_without_work_answers_with_none(server: Server) -> None:
    assert await server.poll("greetings", wait="10ms") == []


async def test_a_server_that_stops_lets_held_polls_go(server: Server) -> None:
    held = asyncio.create_task(server.poll("greetings", wait="60s"))
    bare = asyncio.create_task(server.http.get("/healthz"))
    await bare
    server.wiring.draining.set()
    assert await asyncio.wait_for(held, 5) == []


async def test_a_session_must_not_pass_for_an_engines_own(server: Server) -> None:
    for session in ("engine:1", "a|b", "", "a b"):
        body = {"worker": "w", "session": session, "queues": ["greetings"]}
        problem = await server.post("/v1/tasks/poll", body, 422)
        assert problem["errors"][0]["field"] == "$.session"
    body = {"worker": "w", "session": "s", "queues": ["http:payments"]}
    assert (await server.post("/v1/tasks/poll", body, 422))["errors"][0]["field"] == "$.queues[0]"


async def test_a_poll_whose_connection_drops_takes_nothing_with_it(server: Server) -> None:
    """The worker has gone: the next task goes to another one, at its first attempt."""
    await server.deploy(HELLO, "hello")
    sent: list[Any] = []
    dropped = asyncio.Event()
    body = json.dumps({"worker": "w", "session": "gone", "queues": ["greetings"], "wait": "60s"}).encode()
    coming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if coming:
            return coming.pop()
        await dropped.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/tasks/poll",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    held = asyncio.create_task(create_app(server.wiring)(scope, receive, send))
    await server.poll("elsewhere", wait="10ms")  # Behind it: the first one is held.
    assert not held.done()
    dropped.set()
    await asyncio.wait_for(held, 5)
    await server.start("hello", {"name": "Ada"})
    (task,) = await server.poll("greetings")
    assert task["attempt"] == 1
    assert b'"tasks":[]' in sent[-1]["body"]
