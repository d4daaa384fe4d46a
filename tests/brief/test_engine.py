"""Rows S046–S064: the engine's operations and its store, each as one append of the loop."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest

from connectors.http import HttpConnector
from domain.calls import RetryTerms, ServiceCall, StepError, Succeeded
from domain.events import (
    InstanceStarted,
    StatusChanged,
    StepCompleted,
    StepFailed,
    StepScheduled,
    StepStarted,
)
from engine.clock import ManualClock
from engine.ports import Batch, Recorded, VersionConflictError
from tests.brief.played import NOT_YET, at, playing
from tests.engine.world import NOON, FakeService, Faults, World

TWO = """
name: test
steps:
  - {id: a, type: task, action: worker:w/a, next: b}
  - {id: b, type: task, action: worker:w/b}
"""
CHARGE = """
name: test
steps:
  - {id: charge, type: task, action: http:payments/charge, timeout: 30s,
     retryPolicy: {maxAttempts: 4, initialInterval: 2s, backoffCoefficient: 3, maxInterval: 9s,
                   nonRetryableErrors: [NoError]}}
"""


async def test_store_services_and_clock_are_handed_in() -> None:
    """S046: an engine on a store, a connector and a clock of the test's; what it does stands in that store, at the
    times of that clock, by the answers of that connector."""
    clock, service = ManualClock(NOON + timedelta(days=7)), FakeService(charge=Succeeded({"id": 7}))
    world = World(clock=clock, connector=service)
    assert isinstance(world.faults, Faults)
    async with world:
        await world.deploy(CHARGE)
        id = (await world.start("test")).instance_id
        await world.settle()
        completed = [event for event in await world.log(id) if isinstance(event, StepCompleted)]
        assert [event.output for event in completed] == [{"id": 7}]
        assert completed[0].at == NOON + timedelta(days=7)
        assert len(service.calls) == 1
        await world.check(id)


async def test_a_start_takes_definition_input_and_correlation_id() -> None:
    """S047, S048: the new instance has its nine fields."""
    async with playing(TWO, NOT_YET) as play:
        view = await play.start({"amount": 5}, correlationId="order-1")
        assert view["id"] == play.id != ""
        assert (view["definitionName"], view["definitionVersion"]) == ("test", "1")
        assert (view["correlationId"], view["status"]) == ("order-1", "running")
        assert (view["currentStep"], view["data"]) == ("a", {"input": {"amount": 5}})
        assert view["createdAt"] == "2026-03-01T12:00:00.000000Z"
        assert [each["stepId"] for each in (await play.get(include="history"))["history"]] == ["a"]
        started = await play.last(InstanceStarted)
        assert (started.definition, started.version, started.input) == ("test", "1", {"amount": 5})
        assert started.correlation_id == "order-1"
        await play.serve()


async def test_the_history_of_a_new_instance_is_empty_until_it_begins() -> None:
    """S048: pending, and nothing done yet."""
    async with playing(TWO, {}, startAt="2026-03-01T13:00:00Z") as play:
        view = await play.get(include="history")
        assert (view["status"], view["history"], view["currentStep"]) == ("pending", [], None)
        await play.wait("1h")
        assert (await play.get())["currentStep"] == "a"
        await play.serve()


async def test_the_first_step_is_scheduled_in_the_transaction_that_creates() -> None:
    """S049, S060: one append has both, and the row of the table."""
    async with playing(TWO) as play:
        batch = next(each for each in play.world.faults.batches if each.events[0].topic == "InstanceStarted")
        assert [event.topic for event in batch.events] == [
            "InstanceStarted",
            "StatusChanged",
            "StepScheduled",
        ]
        assert [(row.kind, row.key) for row in batch.owe] == [("invoke", "a#1")]
        await play.serve()


async def test_when_the_append_of_a_start_fails_there_is_no_instance() -> None:
    """S049, S101."""
    async with playing(TWO, NOT_YET) as play:
        play.world.faults.down = True
        await play.start(expected=503)
        play.world.faults.down = False
        streams = await play.world.faults.inner.streams("")
        assert [name for name in streams if name.startswith("0-")] == []


async def test_executing_a_step_again_changes_nothing() -> None:
    """S050: a claim is handed out once, and a result said again is a duplicate."""
    async with playing(TWO) as play:
        task = await play.take("a")
        assert await play.poll("w", session="another") == []
        assert await play.completes(task, {"x": 1}) == "accepted"
        before = await play.topics()
        assert await play.completes(task, {"x": 1}) == "duplicate"
        assert await play.completes(task, {"x": 2}) == "duplicate"
        assert await play.topics() == before
        assert [event.attempt for event in await play.all(StepStarted, "a")] == [1]
        assert (await play.get())["data"]["a"] == {"x": 1}
        await play.serve()


async def test_an_unknown_service_fails_clearly() -> None:
    """S053: the error is in the log, and names what is missing."""
    async with World(connector=cast(FakeService, HttpConnector({}, clock=lambda: NOON))) as world:
        await world.deploy(CHARGE)
        id = (await world.start("test")).instance_id
        await world.settle()
        (failed,) = [event for event in await world.log(id) if isinstance(event, StepFailed)]
        assert (failed.error.type, failed.error.retryable, failed.retry_at) == (
            "UnknownServiceError",
            False,
            None,
        )
        assert "TENUTO_SERVICE_PAYMENTS_URL" in failed.error.message
        assert (await world.state(id)).status == "failed"


TERMS = RetryTerms(
    max_attempts=4,
    initial_interval_ms=2_000,
    backoff_coefficient=3.0,
    max_interval_ms=9_000,
    non_retryable_errors=("NoError",),
)


async def test_timeout_and_retry_policy_reach_the_connector() -> None:
    """S054: with every attempt, and no event repeats them."""

    class Failing(FakeService):
        async def call(self, call: ServiceCall) -> Succeeded:
            self.calls.append(call)
            if call.attempt == 1:
                raise RuntimeError("down")
            return Succeeded({})

    service = Failing()
    async with World(connector=service) as world:
        await world.deploy(CHARGE)
        id = (await world.start("test")).instance_id
        await world.pass_time(2)
        assert [(call.attempt, call.timeout_ms, call.retry_policy) for call in service.calls] == [
            (1, 30_000, TERMS),
            (2, 30_000, TERMS),
        ]
        stored = b"".join(each.payload for each in await world.faults.inner.read(id))
        assert b"maxAttempts" not in stored
        assert b"NoError" not in stored
        await world.check(id)


async def test_and_the_worker() -> None:
    """S054: over HTTP, in its task; those of the version that the instance runs."""
    text = CHARGE.replace("http:payments/charge", "worker:payments/charge")
    async with playing(text) as play:
        await play.deploy(text.replace("maxAttempts: 4", "maxAttempts: 9"))
        task = await play.take("charge")
        assert (task["timeoutMs"], task["attempt"]) == (30_000, 1)
        assert task["retryPolicy"] == {
            "maxAttempts": 4,
            "initialIntervalMs": 2_000,
            "backoffCoefficient": 3.0,
            "maxIntervalMs": 9_000,
            "nonRetryableErrors": ["NoError"],
        }
        assert task["deadlineAt"] == "2026-03-01T12:00:30.000000Z"
        await play.serve()


async def test_step_data_and_history_change_in_one_append() -> None:
    """S057, S112: current step, data and the entry of the history, or nothing of it."""
    async with playing(TWO) as play:
        task = await play.take("a")
        before = await play.get(include="history")
        play.world.faults.down = True
        answer = await play.http.post(
            "/v1/tasks/complete", json={"results": [{"token": task["token"], "output": {"x": 1}}]}
        )
        assert answer.status_code == 503
        play.world.faults.down = False
        assert await play.get(include="history") == before
        assert await play.completes(task, {"x": 1}) == "accepted"
        after = await play.get(include="history")
        assert (after["currentStep"], after["data"]["a"]) == ("b", {"x": 1})
        entry = after["history"][0]
        assert (entry["stepId"], entry["status"], entry["output"]) == ("a", "completed", {"x": 1})
        assert entry["completedAt"] == "2026-03-01T12:00:00.000000Z"
        assert after["version"] == before["version"] + 2
        await play.serve()


async def test_any_exception_becomes_a_failed_attempt() -> None:
    """S059: a connector that crashes is retried by the policy of the step."""
    service = FakeService(charge=ZeroDivisionError("bug"))
    async with World(connector=service) as world:
        await world.deploy(CHARGE)
        id = (await world.start("test")).instance_id
        await world.settle()
        (failed,) = [event for event in await world.log(id) if isinstance(event, StepFailed)]
        assert failed.error == StepError(type="ConnectorError", message="ZeroDivisionError: bug")
        assert failed.retry_at == at("2s")
        service.answers.clear()
        await world.pass_time(2)
        assert (await world.state(id)).outcome == "succeeded"


# The store ---------------------------------------------------------------------------------


async def test_what_an_instance_is_is_read_from_its_log() -> None:
    """S060, S061: created once; got whole, in order, without holes."""
    async with playing(TWO, {"amount": 5}) as play:
        await play.serve()
        recorded = await play.world.faults.inner.read(play.id)
        assert [each.version for each in recorded] == list(range(1, len(recorded) + 1))
        assert recorded[0].topic == "InstanceStarted"
        page = await play.get("/events")
        assert [each["type"] for each in page["events"]] == [each.topic for each in recorded]
        await play.ask("GET", "/v1/instances/0-nowhere", expected=404)


async def test_an_update_is_checked_by_version() -> None:
    """S062: by the store itself, and by `If-Match` over HTTP."""
    async with playing(TWO) as play:
        taken = Recorded(play.id, 2, "StepCompleted", b"{}")
        before = await play.topics()
        with pytest.raises(VersionConflictError):
            await play.world.faults.inner.append(Batch(events=[taken]))
        answer = await play.http.post(
            f"/v1/instances/{play.id}/cancel", json={"reason": "late"}, headers={"If-Match": '"2"'}
        )
        assert answer.status_code == 412
        assert await play.topics() == before
        await play.serve()


async def test_several_instances_are_found_by_one_correlation_id() -> None:
    """S063: all that listen under it."""
    text = "signals: {stop: {do: cancel}}\n" + TWO
    async with playing(text, {}, correlationId="c-1") as play:
        first = play.id
        await play.start(correlationId="c-2")
        await play.serve()
        await play.start(correlationId="c-1")
        body = {"signalId": "s", "correlationId": "c-1", "payload": None}
        found = (await play.ask("POST", "/v1/signals/stop?all=true", body))["instances"]
        assert sorted(found) == sorted([first, play.id])
        for id in found:
            play.id = id
            assert (await play.last(StatusChanged)).outcome == "cancelled"


async def test_what_is_pending_is_found() -> None:
    """S064: an engine that knows nothing finds every task and timer in the table."""
    world = World(lease_seconds=1_000)
    async with world:
        await world.deploy(TWO, "{name: nap, steps: [{id: nap, type: wait, for: 5s}]}")
        waiting = (await world.start("test")).instance_id
        napping = (await world.start("nap")).instance_id
        world.kill()
    async with World(world.faults, world.clock, lease_seconds=1_000) as again:
        await again.pass_time(6)
        assert (await again.state(napping)).outcome == "succeeded"
        (task,) = await again.tasks("w")
        assert (task.instance_id, task.step) == (waiting, "a")
        scheduled = [event for event in await again.log(waiting) if isinstance(event, StepScheduled)]
        assert len(scheduled) == 1
