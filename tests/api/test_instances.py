"""Starting instances, and reading them as they are and were."""

from __future__ import annotations

import asyncio

import pytest

from api.routes import examples
from tests.api.conftest import APPROVAL, BOOKING, HELLO, Server


async def test_a_workflow_runs_from_start_to_result_over_http(server: Server) -> None:
    """S004, S047, S048, S122, S123: one call returns the whole instance, with its history."""
    await server.deploy(HELLO, "hello")
    started = await server.start("hello", {"name": "Ada"}, correlationId="c-1")
    assert started["status"] == "running"
    assert started["currentStep"] == "greet"

    await server.work("greetings", {"text": "Hello, Ada"})

    view = await server.get(f"/v1/instances/{started['id']}", include="history")
    assert view["status"] == "completed"
    assert view["outcome"] == "succeeded"
    assert view["result"] == {"said": {"text": "Hello, Ada"}}
    assert [(entry["stepId"], entry["status"]) for entry in view["history"]] == [("greet", "completed")]


async def test_the_view_has_every_field_that_the_document_shows(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    view = await server.start("hello", {"name": "Ada"})
    assert view.keys() == examples.INSTANCE.keys()


async def test_a_start_can_wait_for_the_result(server: Server) -> None:
    """S009."""
    await server.deploy(HELLO, "hello")
    body = {"definition": "hello", "input": {"name": "Ada"}}
    waiting = asyncio.create_task(server.http.post("/v1/instances", params={"wait": "20s"}, json=body))
    await server.work("greetings", "hi")
    answer = await waiting
    assert answer.status_code == 201
    assert answer.json()["result"] == {"said": "hi"}


async def test_a_wait_that_is_over_answers_how_it_stands(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    started = await server.start("approval")
    view = await server.get(f"/v1/instances/{started['id']}", wait="20ms")
    assert view["status"] == "waiting"
    assert view["waitingFor"] == ["signal"]


async def test_the_same_key_is_answered_as_the_first_time(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    body = {"definition": "hello", "input": {"name": "Ada"}, "labels": {"a": "b"}}
    first = await server.http.post("/v1/instances", json=body, headers={"Idempotency-Key": "k-1"})
    await server.work("greetings", "hi")
    again = await server.http.post("/v1/instances", json=body, headers={"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.headers["ETag"] == first.headers["ETag"]


async def test_the_same_key_with_another_body_is_refused(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    await server.post("/v1/instances", {"definition": "hello"}, 201, Idempotency_Key="k-1")
    problem = await server.post(
        "/v1/instances", {"definition": "hello", "input": {"a": 1}}, 422, Idempotency_Key="k-1"
    )
    assert problem["type"] == "urn:tenuto:problem:idempotency-conflict"


async def test_the_etag_is_the_version_and_every_version_can_be_read(server: Server) -> None:
    await server.deploy(HELLO, "hello")
    started = await server.start("hello", {"name": "Ada"})
    path = f"/v1/instances/{started['id']}"
    await server.work("greetings", "hi")
    now = await server.http.get(path)
    assert now.headers["ETag"] == f'"{now.json()["version"]}"'

    then = await server.get(f"{path}/state", version=started["version"])
    assert then == started
    assert await server.get(f"{path}/state") == now.json()
    at_the_end = await server.get(f"{path}/state", at=now.json()["completedAt"])
    assert at_the_end["status"] == "completed"
    await server.get(f"{path}/state", 422, at="2020-01-01T00:00:00Z")
    await server.get(f"{path}/state", 422, version=1000)
    await server.get(f"{path}/state", 422, at="2020-01-01T00:00:00")


async def test_the_log_is_paged_and_every_event_has_its_time(server: Server) -> None:
    """S005."""
    await server.deploy(HELLO, "hello")
    started = await server.start("hello", {"name": "Ada"})
    path = f"/v1/instances/{started['id']}/events"
    await server.work("greetings", "hi")

    whole = (await server.get(path))["events"]
    paged, cursor = [], None
    while True:
        page = await server.get(path, limit=2, **({} if cursor is None else {"cursor": cursor}))
        paged += page["events"]
        cursor = page["next"]
        if cursor is None:
            break
    assert paged == whole
    assert [event["version"] for event in whole] == list(range(1, len(whole) + 1))
    assert whole[0]["type"] == "InstanceStarted"
    assert whole[-1]["at"] == (await server.get(f"/v1/instances/{started['id']}"))["completedAt"]
    assert (await server.get(path, after=len(whole) - 1))["events"] == whole[-1:]


async def test_history_and_transitions_are_lists_in_order(server: Server) -> None:
    """S102: every change of status, with its reason."""
    await server.deploy(HELLO, "hello")
    started = await server.start("hello", {"name": "Ada"})
    await server.work("greetings", "hi")
    path = f"/v1/instances/{started['id']}"
    changes = (await server.get(f"{path}/transitions"))["transitions"]
    assert [(change["from"], change["to"]) for change in changes] == [
        ("pending", "running"),
        ("running", "completed"),
    ]
    assert all(change["reason"] and change["type"] == "transition" for change in changes)


async def test_step_executions_are_paged(server: Server) -> None:
    """S091–S098."""
    await server.deploy(BOOKING, "booking")
    started = await server.start("booking")
    await server.work("travel", {"id": 7})
    path = f"/v1/instances/{started['id']}/history"
    whole = (await server.get(path))["executions"]
    first = await server.get(path, limit=1)
    second = await server.get(path, limit=1, cursor=first["next"])
    assert [one["stepId"] for one in whole] == ["book", "pay"]
    assert first["executions"] + second["executions"] == whole
    assert second["next"] is None


async def test_a_replay_gives_the_live_state(server: Server) -> None:
    """S213."""
    await server.deploy(HELLO, "hello")
    started = await server.start("hello", {"name": "Ada"})
    await server.work("greetings", "hi")
    answer = await server.http.post(f"/v1/instances/{started['id']}/replay")
    assert answer.json()["equal"] is True
    assert answer.json()["differences"] == []


async def test_the_undo_plan_is_in_reverse(server: Server) -> None:
    await server.deploy(BOOKING, "booking")
    started = await server.start("booking")
    await server.work("travel", {"id": 7})
    plan = await server.get(f"/v1/instances/{started['id']}/undo-plan")
    assert [(one["step"], one["undoStep"], one["output"]) for one in plan["steps"]] == [
        ("book", "unbook", {"id": 7})
    ]


@pytest.mark.parametrize(
    "path",
    ["", "/events", "/history", "/transitions", "/state", "/undo-plan"],
)
async def test_an_unknown_instance_is_404(server: Server, path: str) -> None:
    problem = await server.get(f"/v1/instances/0-0000{path}", 404)
    assert problem["type"] == "urn:tenuto:problem:unknown-instance"
    assert problem["instanceId"] == "0-0000"


async def test_another_namespace_does_not_see_it(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    started = await server.start("approval")
    path = f"/v1/instances/{started['id']}"
    other = {"Tenuto-Namespace": "other"}
    assert (await server.http.get(path, headers=other)).status_code == 404
    await server.post(f"{path}/cancel", {"reason": "r"}, 404, Tenuto_Namespace="other")
    await server.post("/v1/instances", {"definition": "approval"}, 404, Tenuto_Namespace="other")
    assert (await server.get(path))["status"] == "waiting"


async def test_what_was_asked_with_a_start_stands_in_its_first_event(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    body = {"definition": "approval", "labels": {"tier": "premium"}, "priority": "high"}
    headers = {"Tenuto_Actor": "ada", "Tenuto_Request_Id": "r-1"}
    started = await server.post("/v1/instances", body, 201, **headers)
    assert started["labels"] == {"tier": "premium"}
    assert started["priority"] == "high"
    first = (await server.get(f"/v1/instances/{started['id']}/events", limit=1))["events"][0]
    assert first["payload"]["actor"] == "ada"
    assert first["payload"]["requestId"] == "r-1"
