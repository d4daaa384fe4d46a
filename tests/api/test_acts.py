"""What a person may do: with a reason, under a name, and not against the table of statuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import APPROVAL, BOOKING, Server

WHY = {"reason": "the customer called", "actor": "ada"}
TWO = """\
name: two
version: "1"
steps:
  - id: both
    type: parallel
    branches:
      one: [{id: a, type: task, action: worker:travel/a, readOnly: true, timeout: 30s,
             retryPolicy: {maxAttempts: 1}, onMaxRetriesExceeded: pause}]
      other: [{id: b, type: task, action: worker:travel/b, readOnly: true, timeout: 30s,
               retryPolicy: {maxAttempts: 1}, onMaxRetriesExceeded: pause}]
"""
PLAIN = [
    "cancel",
    "terminate",
    "compensate",
    "pause",
    "resume",
    "retry",
    "skip",
    "give-up",
    "fail",
    "resolve",
]


async def waiting(server: Server) -> str:
    """The path of an instance that waits for a signal."""
    await server.deploy(APPROVAL, "approval")
    return f"/v1/instances/{(await server.start('approval'))['id']}"


async def stuck(server: Server) -> str:
    """The path of an instance that has booked, failed to pay, and waits for a person."""
    await server.deploy(BOOKING, "booking")
    started = await server.start("booking")
    await server.work("travel", {"id": 7})
    await server.work("travel", type="CardError", message="declined", retryable=True)
    path = f"/v1/instances/{started['id']}"
    assert (await server.get(path))["waitingFor"] == ["manual_resolution"]
    return path


async def test_a_cancel_ends_the_instance_and_says_who_and_why(server: Server) -> None:
    path = await waiting(server)
    view = await server.post(f"{path}/cancel", WHY)
    assert (view["status"], view["outcome"]) == ("completed", "cancelled")
    last = (await server.get(f"{path}/transitions"))["transitions"][-1]
    assert last["actor"] == "ada"
    assert "the customer called" in last["reason"]


async def test_an_act_repeated_changes_nothing(server: Server) -> None:
    path = await waiting(server)
    first = await server.post(f"{path}/cancel", WHY)
    assert await server.post(f"{path}/cancel", WHY) == first


async def test_an_illegal_transition_is_409_and_names_both(server: Server) -> None:
    """S110: the error names both statuses."""
    path = await waiting(server)
    await server.post(f"{path}/terminate", WHY)
    before = await server.events()
    problem = await server.post(f"{path}/compensate", WHY, 409)
    assert problem["type"] == "urn:tenuto:problem:invalid-transition"
    assert (problem["from"], problem["to"]) == ("failed", "compensating")
    assert "failed" in problem["detail"]
    assert "compensating" in problem["detail"]
    assert await server.events() == before


async def test_an_ended_instance_takes_no_more_acts(server: Server) -> None:
    path = await waiting(server)
    await server.post(f"{path}/terminate", WHY)
    for act, body in (("pause", WHY), ("resume", WHY), ("data", WHY | {"data": {"a": 1}})):
        problem = await server.post(f"{path}/{act}", body, 409)
        assert problem["type"] == "urn:tenuto:problem:instance-ended"
        assert problem["instanceStatus"] == "failed"


@pytest.mark.parametrize("act", [*PLAIN, "data"])
async def test_an_act_without_a_reason_is_refused_by_name(server: Server, act: str) -> None:
    path = await waiting(server)
    before = await server.events()
    for body in ({}, {"reason": ""}, {"reason": " \t"}, {"reason": None}, {"reason": 7}):
        more: dict[str, Any] = {"data": {"a": 1}} if act == "data" else {}
        problem = await server.post(f"{path}/{act}", body | more, 422)
        assert problem["errors"][0]["field"] == "$.reason", problem
    assert await server.events() == before


async def test_who_acts_is_the_body_then_the_header_then_anonymous(server: Server) -> None:
    path = await waiting(server)
    await server.post(f"{path}/pause", {"reason": "r"})
    await server.post(f"{path}/resume", {"reason": "r"}, Tenuto_Actor="grace")
    await server.post(f"{path}/pause", WHY, Tenuto_Actor="grace")
    events = (await server.get(f"{path}/events"))["events"]
    acts = [event["payload"]["actor"] for event in events if event["type"] in ("Paused", "Resumed")]
    assert acts == ["anonymous", "grace", "ada"]


async def test_if_match_refuses_an_instance_that_has_changed(server: Server) -> None:
    path = await waiting(server)
    seen = (await server.http.get(path)).headers["ETag"]
    await server.post(f"{path}/pause", WHY, If_Match=seen)
    problem = await server.post(f"{path}/resume", WHY, 412, If_Match=seen)
    assert problem["type"] == "urn:tenuto:problem:wrong-version"
    assert f'"{problem["expected"]}"' == seen
    assert (await server.get(path))["paused"] is True
    await server.post(f"{path}/resume", WHY, 422, If_Match="yesterday")


@pytest.mark.parametrize("named", [True, False])
async def test_a_stuck_step_can_be_retried(server: Server, *, named: bool) -> None:
    """S152."""
    path = await stuck(server)
    view = await server.post(f"{path}/retry", WHY | ({"execution": "pay#1"} if named else {}))
    assert view["status"] == "running"
    await server.work("travel", "paid")
    assert (await server.get(path))["result"] == {"paid": "paid"}


async def test_a_stuck_step_can_be_resolved_with_an_output(server: Server) -> None:
    view = await server.post(f"{await stuck(server)}/resolve", WHY | {"output": "by hand"})
    assert (view["status"], view["result"]) == ("completed", {"paid": "by hand"})


async def test_a_stuck_step_can_fail_the_instance(server: Server) -> None:
    """S152: as any failure for good, so what was booked is undone."""
    path = await stuck(server)
    view = await server.post(f"{path}/fail", WHY)
    assert (view["status"], view["lastError"]["code"]) == ("compensating", "CardError")
    await server.work("travel")
    assert (await server.get(path))["outcome"] == "compensated"
    events = (await server.get(f"{path}/events"))["events"]
    (act,) = [event["payload"] for event in events if event["type"] == "StepGivenUp"]
    assert (act["execution"], act["actor"], act["reason"]) == ("pay#1", "ada", "the customer called")


async def stuck_undo(server: Server) -> str:
    """The path of an instance whose booking could not be undone."""
    path = await stuck(server)
    await server.post(f"{path}/compensate", WHY)
    await server.work("travel", type="AirlineError", message="closed", retryable=False)
    return path


async def test_a_stuck_undo_can_be_given_up(server: Server) -> None:
    """S158: a failed undo waits for a person; the rest goes on."""
    view = await server.post(f"{await stuck_undo(server)}/give-up", WHY)
    assert view["status"] == "failed"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("act", ["skip", "fail"])
async def test_what_is_for_steps_says_what_can_be_done_with_an_undo(
    server: Server, act: str, *, named: bool
) -> None:
    """Also when none is named: the only one that waits is meant."""
    path = await stuck_undo(server)
    body = WHY | ({"execution": "book#1/undo"} if named else {})
    problem = await server.post(f"{path}/{act}", body, 409)
    assert problem["execution"] == "book#1/undo"
    assert "`tenuto give-up`" in problem["detail"]


async def test_a_step_cannot_be_given_up_but_skipped(server: Server) -> None:
    problem = await server.post(f"{await stuck(server)}/give-up", WHY, 409)
    assert problem["execution"] == "pay#1"
    assert "`tenuto skip`" in problem["detail"]


async def test_when_several_wait_they_are_named(server: Server) -> None:
    await server.deploy(TWO, "two")
    path = f"/v1/instances/{(await server.start('two'))['id']}"
    for _ in range(2):
        await server.work("travel", type="CardError", message="declined", retryable=True)
    for act in ("skip", "give-up"):
        problem = await server.post(f"{path}/{act}", WHY, 409)
        assert problem["type"] == "urn:tenuto:problem:ambiguous-execution"
        assert problem["detail"].endswith("say which: both.a#1, both.b#1.")
        assert problem["executions"] == ["both.a#1", "both.b#1"]


async def test_when_none_waits_that_is_said(server: Server) -> None:
    problem = await server.post(f"{await waiting(server)}/skip", WHY, 409)
    assert problem["type"] == "urn:tenuto:problem:unknown-execution"
    assert problem["detail"].endswith("waits for a person.")


async def test_an_act_on_a_step_that_does_not_wait_is_409(server: Server) -> None:
    path = await waiting(server)
    for act in ("retry", "skip", "resolve", "fail", "give-up"):
        problem = await server.post(f"{path}/{act}", WHY | {"execution": "ask#1"}, 409)
        assert problem["type"] == "urn:tenuto:problem:unknown-execution"
        assert problem["execution"] == "ask#1"


async def test_data_can_be_changed_but_not_what_is_reserved(server: Server) -> None:
    path = await waiting(server)
    view = await server.post(f"{path}/data", WHY | {"data": {"city": "Bremen"}})
    assert view["data"]["city"] == "Bremen"
    problem = await server.post(f"{path}/data", WHY | {"data": {"input": {}}}, 422)
    assert problem["path"] == "$.input"


async def test_an_alert_is_acknowledged_once(server: Server) -> None:
    """S150: the alert that a step's last failure raised."""
    path = await stuck(server)
    raised = [
        event for event in (await server.get(f"{path}/events"))["events"] if event["type"] == "AlertRaised"
    ]
    alert = f"/v1/alerts/{path.rpartition('/')[2]}/{raised[0]['payload']['alertId'].replace('#', '%23')}/acknowledge"
    before = await server.events()
    await server.post(alert, WHY)
    assert await server.events() == before + 1
    problem = await server.post(alert, WHY, 404)
    assert problem["type"] == "urn:tenuto:problem:unknown-alert"


async def test_an_act_on_an_unknown_instance_is_404(server: Server) -> None:
    for act in PLAIN:
        await server.post(f"/v1/instances/0-0000/{act}", WHY, 404)
    await server.post("/v1/alerts/0-0000/x/acknowledge", WHY, 404)
