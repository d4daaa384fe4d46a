"""Rows S011–S019: definition, engine, store, connectors and error handler, each by what it does in a run."""

from __future__ import annotations

import pytest

from domain.calls import Succeeded
from domain.events import (
    AlertRaised,
    CompensationStarted,
    DecisionMade,
    ScopeClosed,
    StatusChanged,
    StepCompleted,
    StepFailed,
    StepStarted,
    WaitEnded,
)
from tests.brief.played import NOT_YET, playing
from tests.engine.world import FakeService, World

FIVE_TYPES = """
steps:
  - {id: pay, type: task, action: worker:w/pay, compensateWith: refund, next: isPaid}
  - {id: isPaid, type: decision, next: [{condition: "$.pay == 'paid'", next: prepare}, {next: back}]}
  - id: prepare
    type: parallel
    branches:
      goods: [{id: pack, type: task, action: worker:w/pack}]
      papers: [{id: invoice, type: task, action: worker:w/invoice}]
    next: pause
  - {id: pause, type: wait, for: 1h, next: back}
  - {id: back, type: compensate, reason: it was a test, outcome: cancelled}
  - {id: refund, type: task, action: worker:w/refund}
"""
ONE = "steps: [{id: work, type: task, action: worker:w/work%s}]"


async def test_definitions_are_stored_versioned_and_read_as_they_were_sent() -> None:
    """S011: steps, transitions and decision logic, by HTTP."""
    async with playing(FIVE_TYPES, NOT_YET) as play:
        await play.deploy(FIVE_TYPES.replace("1h", "2h"))
        versions = (await play.ask("GET", "/v1/definitions/test/versions"))["versions"]
        assert [each["version"] for each in versions] == ["1", "2"]
        first = await play.ask("GET", "/v1/definitions/test/versions/1")
        assert first["source"] == f"name: test\n{FIVE_TYPES}"
        steps = {step["id"]: step for step in first["document"]["steps"]}
        assert steps["isPaid"]["next"] == [
            {"condition": "$.pay == 'paid'", "next": "prepare"},
            {"next": "back"},
        ]
        assert steps["pause"]["for"] == "1h"


async def test_the_engine_runs_all_five_types_of_step() -> None:
    """S012: task, decision, parallel, wait, compensate; it schedules, chooses, waits and undoes."""
    async with playing(FIVE_TYPES) as play:
        await play.complete("pay", "paid")
        assert await play.serve() == ["invoice", "pack"]
        await play.wait("1h")
        await play.serve()
        log = await play.topics()
        for kind in (StepCompleted, DecisionMade, ScopeClosed, WaitEnded, CompensationStarted):
            assert kind.__name__ in log
        assert await play.undone() == ["pay#1"]
        assert (await play.last(StatusChanged)).outcome == "cancelled"


async def test_state_survives_a_restart() -> None:
    """S013, S008: after a kill at every stage of the run another engine goes on from the store alone."""
    world = World(lease_seconds=1_000)
    async with world:
        await world.deploy(f"name: test\n{FIVE_TYPES}".replace("1h", "20s"))
        id = (await world.start("test")).instance_id
        world.kill()
    for answer in ("paid", "packed", "refunded"):
        again = World(world.faults, world.clock, lease_seconds=1_000)
        async with again:
            if answer == "refunded":
                await again.pass_time(20)
            tasks = await again.tasks("w")
            await again.complete(*tasks, output=answer)
            again.kill()
    async with World(world.faults, world.clock) as last:
        state = await last.state(id)
        assert (state.status, state.outcome, state.data["pay"]) == ("completed", "cancelled", "paid")
        started = [event.execution for event in await last.log(id) if isinstance(event, StepStarted)]
        assert started == ["pay#1", "prepare.invoice#1", "prepare.pack#1", "pay#1/undo"]
        await last.check(id)


async def test_a_service_is_called_and_a_worker_completes_later() -> None:
    """S014 (HTTP), S015: by the connector at once; by the queue when a worker comes, however late."""
    text = """
name: test
steps:
  - {id: call, type: task, action: http:shop/call, next: queue}
  - {id: queue, type: task, action: worker:w/queue}
"""
    async with World(connector=FakeService(call=Succeeded(1)), lease_seconds=10_000) as world:
        await world.deploy(text)
        id = (await world.start("test")).instance_id
        await world.pass_time(60)
        (task,) = await world.tasks("w")
        await world.pass_time(60)
        await world.complete(task, output=2)
        outputs = [event.output for event in await world.log(id) if isinstance(event, StepCompleted)]
        assert outputs == [1, 2]
        await world.check(id)


async def test_the_error_handler_retries() -> None:
    """S016: as often as the policy says."""
    async with playing(ONE % ", retryPolicy: {maxAttempts: 4}") as play:
        assert await play.use_up("work") == 4
        assert [event.attempt for event in await play.all(StepFailed)] == [1, 2, 3, 4]


async def test_the_error_handler_compensates() -> None:
    """S017."""
    text = """
steps:
  - {id: pay, type: task, action: worker:w/pay, compensateWith: refund, next: ship}
  - {id: ship, type: task, action: worker:w/ship}
  - {id: refund, type: task, action: worker:w/refund}
"""
    async with playing(text) as play:
        await play.complete("pay")
        await play.use_up("ship")
        assert await play.serve() == ["refund"]
        assert await play.undone() == ["pay#1"]


async def test_the_error_handler_times_out() -> None:
    """S018."""
    async with playing(ONE % ", timeout: 30s, retryPolicy: {maxAttempts: 1}") as play:
        await play.take("work")
        await play.wait("30s")
        assert (await play.last(StepFailed)).timeout == "startToClose"
        assert (await play.get())["status"] == "failed"


@pytest.mark.parametrize(
    ("on", "status"), [("pause", "waiting"), ("compensate", "failed"), ("fail", "failed")]
)
async def test_the_error_handler_escalates(on: str, status: str) -> None:
    """S019: somebody is told, then it pauses, compensates (with nothing to undo it fails), or fails."""
    async with playing(ONE % f", onMaxRetriesExceeded: {on}") as play:
        await play.use_up("work", "LastError", "no luck")
        (alert,) = await play.all(AlertRaised)
        assert (alert.severity, alert.step, alert.action, alert.retry_count) == ("high", "work", on, 3)
        assert (await play.get())["status"] == status
        if on == "pause":
            assert (await play.get())["waitingFor"] == ["manual_resolution"]
