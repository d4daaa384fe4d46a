"""Why an instance is not moving: every cause, through the real loop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain.commands import CancelInstance, Command, PauseInstance, RetryStep, TerminateInstance
from domain.history import timed
from domain.times import rfc3339
from domain.why import Cause, why
from engine.clock import ManualClock
from engine.errors import IncidentError
from engine.messages import Envelope
from tests.engine.world import NOON, ONE, SAGA, SIGNAL, FakeService, World

STUCK = """
name: stuck
steps:
  - id: book
    type: task
    action: worker:w/book
    compensateWith: unbook
    next: pay
  - {id: pay, type: task, action: worker:w/pay, retryPolicy: {maxAttempts: 1}, onMaxRetriesExceeded: pause}
  - {id: unbook, type: task, action: worker:w/unbook, retryPolicy: {maxAttempts: 1}}
"""
RETRIES = """
name: retries
steps:
  - {id: work, type: task, action: worker:w/work, retryPolicy: {maxAttempts: 5, initialInterval: 1m}}
"""
NAPS = """
name: naps
steps:
  - {id: nap, type: wait, for: 1h, next: work}
  - {id: work, type: task, action: worker:w/work, scheduleToStart: 10m}
"""
CALLS = """
name: calls
steps:
  - {id: work, type: task, action: http:payments/charge, timeout: 30s}
"""
BOTH = """
name: both
steps:
  - id: fork
    type: parallel
    branches:
      left: [{id: ask, type: wait, signal: go, correlationKey: $.input.key}]
      right: [{id: work, type: task, action: worker:w/work}]
"""


async def causes(world: World, id: str) -> list[Cause]:
    state = await world.state(id)
    history = list(timed(enumerate(await world.log(id), start=1)))
    return why(state, history, await world.engine.program_of(state), world.engine.facts_of(state))


async def cause(world: World, id: str) -> Cause:
    (found,) = await causes(world, id)
    return found


async def started(world: World, text: str, name: str, input: Any = None, **fields: Any) -> str:
    await world.deploy(text)
    return (await world.start(name, input, **fields)).instance_id


def clock_of(world: World) -> ManualClock:
    assert isinstance(world.clock, ManualClock)
    return world.clock


async def test_no_worker_has_ever_polled_its_queue() -> None:
    async with World() as world:
        await world.pass_time(5)
        found = await cause(world, await started(world, ONE, "one"))
        assert (found.code, found.execution, found.step) == ("no-worker", "work#1", "work")
        assert found.since == "2026-03-01T12:00:05.000000Z"
        assert "no worker polls queue w since 2026-03-01T12:00:05" in found.message
        assert found.moves[0].command == "tenuto worker MODULE --queue w"


async def test_the_last_worker_went_away_a_while_ago() -> None:
    async with World() as world:
        await world.pass_time(60)
        assert await world.tasks("w") == []
        id = await started(world, ONE, "one")
        await world.pass_time(30)
        assert (await cause(world, id)).code == "queue-busy", "a worker that was here just now may come back"
        await world.pass_time(120)
        found = await cause(world, id)
        assert found.code == "no-worker"
        assert (found.since, found.details["polledAt"]) == ("2026-03-01T12:01:00.000000Z",) * 2


async def test_a_worker_that_is_busy_is_no_absent_one() -> None:
    async with World() as world:
        id = await started(world, ONE, "one")
        other = (await world.start("one")).instance_id
        await world.tasks("w", max_tasks=1)
        codes = [(await cause(world, one)).code for one in (id, other)]
        assert codes == ["running", "queue-busy"]


async def test_a_lease_names_its_worker_and_the_last_sign_of_life() -> None:
    async with World() as world:
        id = await started(world, ONE, "one")
        (task,) = await world.tasks("w", worker="ada")
        await world.pass_time(3)
        await world.beat(task)
        found = await cause(world, id)
        assert (found.code, found.since) == ("running", "2026-03-01T12:00:00.000000Z")
        assert found.message.startswith("worker ada holds the lease of attempt 1")
        assert found.details["lastSignAt"] == "2026-03-01T12:00:03.000000Z"


async def test_a_session_that_speaks_of_something_else_is_a_sign_of_life_too() -> None:
    """A step without a heartbeat is not named by its worker's beats: those only say that the session lives."""
    async with World() as world:
        id = await started(world, ONE, "one")
        await world.tasks("w", session="s")
        await world.pass_time(3)
        await world.engine.heartbeat("s", "w1", [])
        assert (await cause(world, id)).details["lastSignAt"] == "2026-03-01T12:00:03.000000Z"


async def test_a_lease_whose_worker_is_silent_says_so() -> None:
    async with World() as world:
        id = await started(world, ONE, "one")
        await world.tasks("w")
        clock_of(world).advance(timedelta(seconds=6))
        assert (await cause(world, id)).code == "lease-silent"


async def test_a_retry_says_which_of_how_many_when_and_after_what() -> None:
    async with World() as world:
        id = await started(world, RETRIES, "retries")
        for wait in (60, 120, 0):
            (task,) = await world.tasks("w")
            await world.fail(task, "BankError")
            await world.pass_time(wait)
        found = await cause(world, id)
        assert found.code == "retry"
        assert found.message == "attempt 4 of 5 begins at 2026-03-01T12:04:00.000000Z after BankError: boom"
        assert (found.details["failures"], found.details["retryAt"]) == (3, "2026-03-01T12:04:00.000000Z")
        assert found.moves[0].at == "2026-03-01T12:04:00.000000Z"


async def test_a_pause_names_who_when_and_why_and_is_the_cause_of_what_is_queued() -> None:
    async with World() as world:
        id = await started(world, ONE, "one")
        await world.pass_time(1)
        await world.act(id, PauseInstance, actor="ada", reason="carrier is down")
        found = await cause(world, id)
        assert (found.code, found.since) == ("paused", "2026-03-01T12:00:01.000000Z")
        assert found.details == {"actor": "ada", "reason": "carrier is down"}
        assert found.moves[0].command == f"tenuto resume {id} --reason 'why'"


async def test_what_waits_for_a_person_lists_the_acts_that_move_it() -> None:
    async with World() as world:
        id = await started(world, STUCK, "stuck")
        await world.complete(*await world.tasks("w"))
        await world.pass_time(2)
        (task,) = await world.tasks("w")
        await world.fail(task, "BankError")
        found = await cause(world, id)
        assert (found.code, found.execution, found.since) == ("stuck", "pay#1", "2026-03-01T12:00:02.000000Z")
        acts = [(move.command or "").split()[1] for move in found.moves]
        assert acts == ["retry", "skip", "resolve", "fail", "compensate"]
        assert found.moves[3].what == "let it fail: the definition says what follows"
        await world.act(id, RetryStep, execution="pay#1", actor="ada", reason="again")
        assert (await cause(world, id)).code == "queue-busy"


async def test_an_attempt_after_an_operators_retry_is_told_with_how_many_there_may_be() -> None:
    async with World() as world:
        id = await started(world, STUCK.replace("maxAttempts: 1}, on", "maxAttempts: 2}, on"), "stuck")
        await world.complete(*await world.tasks("w"))
        for _ in range(2):
            await world.pass_time(2)
            (task,) = await world.tasks("w")
            await world.fail(task, "BankError")
        await world.act(id, RetryStep, execution="pay#1", actor="ada", reason="again")
        (task,) = await world.tasks("w")
        await world.fail(task, "BankError")
        assert (await cause(world, id)).message.startswith("attempt 4 of 4 begins at")


async def test_a_rollback_says_so_and_an_undo_that_failed_comes_first() -> None:
    async with World() as world:
        id = await started(world, STUCK, "stuck")
        await world.complete(*await world.tasks("w"))
        await world.act(id, CancelInstance, actor="ada", reason="changed her mind")
        queued, rollback = await causes(world, id)
        assert (queued.code, rollback.code) == ("queue-busy", "compensating")
        assert rollback.since == rfc3339(world.clock.now())
        (task,) = await world.tasks("w")
        await world.fail(task, "Gone")
        found = await causes(world, id)
        assert [one.code for one in found] == ["undo-stuck", "compensating"]
        assert [(move.command or "").split()[1] for move in found[0].moves] == ["retry", "give-up", "resolve"]
        assert found[1].details["pending"] == ["book#1"]
        assert "changed her mind" in found[1].message


async def test_a_wait_says_for_which_signal_under_which_key() -> None:
    async with World() as world:
        id = await started(world, SIGNAL, "asks", correlation_id="order-17")
        found = await cause(world, id)
        assert (found.code, found.since) == ("signal", "2026-03-01T12:00:00.000000Z")
        assert found.message == "it waits for the signal approve (key order-17)"
        assert found.moves[0].command == f"tenuto signal {id} approve --payload '{{}}'"


async def test_a_wait_for_a_time_says_until_when() -> None:
    async with World() as world:
        id = await started(world, NAPS, "naps")
        found = await cause(world, id)
        assert (found.code, found.moves[0].at) == ("timer", "2026-03-01T13:00:00.000000Z")
        await world.pass_time(3600)
        found = await cause(world, id)
        assert found.code == "no-worker"
        assert found.moves[-1].at == "2026-03-01T13:10:00.000000Z", "it gives up waiting for a worker"


async def test_one_that_is_to_start_later_says_when() -> None:
    async with World() as world:
        id = await started(world, ONE, "one", start_at=NOON + timedelta(hours=1))
        found = await cause(world, id)
        assert (found.code, found.details["startAt"]) == ("scheduled", "2026-03-01T13:00:00.000000Z")


async def test_one_that_has_ended_says_how_and_what_stands() -> None:
    async with World() as world:
        id = await started(world, SAGA, "saga")
        await world.complete(*await world.tasks("w"))
        await world.act(id, TerminateInstance, actor="ada", reason="wrong tenant")
        found = await cause(world, id)
        assert found.code == "ended"
        assert found.message == "it has ended: failed, terminated (wrong tenant); not undone: charge#1"


async def test_a_fault_inside_is_named_until_something_happens_again() -> None:
    async with World() as world:
        id = await started(world, ONE, "one")

        def poison(env: Envelope) -> Command:
            raise ZeroDivisionError("poison")

        await world.pass_time(1)
        with pytest.raises(IncidentError):
            await world.engine.act(id, poison)
        first, second = await causes(world, id)
        assert (first.code, second.code) == ("incident", "no-worker")
        assert "poison" in first.message
        await world.pass_time(1)
        await world.change(id, n=1)
        assert (await cause(world, id)).code == "no-worker"


async def test_everything_open_is_listed_the_most_blocking_first() -> None:
    async with World() as world:
        id = await started(world, BOTH, "both", {"key": "k1"})
        found = await causes(world, id)
        assert [(one.code, one.step) for one in found] == [("no-worker", "work"), ("signal", "ask")]
        assert found[1].details["correlationKey"] == "k1"


async def test_the_engines_own_dispatcher_is_a_worker_too() -> None:
    service = FakeService()
    service.release.clear()
    async with World(connector=service) as world:
        id = await started(world, CALLS, "calls")
        await world.settle()
        assert (await cause(world, id)).code == "running"
        service.release.set()
