"""Rows S163–S187: time that runs out, as it stands in the log. The order's forms are in tests/examples."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from domain.commands import Command, FireTimer, SendSignal
from domain.events import (
    AlertRaised,
    DeadlineEscalated,
    DeadlineMet,
    DeadlineMissed,
    DeadlineSet,
    ResultIgnored,
    StatusChanged,
    StepCompleted,
    StepFailed,
    StepProgressed,
    StepScheduled,
    StepStarted,
    WaitEnded,
)
from engine.clock import ManualClock
from tests.brief.played import Play, at, playing

Asked = tuple[type[Command], dict[str, Any]]


def one(fields: str, top: str = "") -> str:
    return f"{top}\nsteps: [{{id: work, type: task, action: worker:w/work, {fields}}}]"


# The five timeouts and schedule-to-close ---------------------------------------------------


async def test_start_to_close_counts_from_the_claim() -> None:
    """S163, S018, S038: a step that takes too long has failed, and its late result is only recorded."""
    async with playing(one("timeout: 30s")) as play:
        await play.wait("10s")
        first = await play.take("work")
        await play.wait("29.9s")
        assert await play.all(StepFailed) == []
        await play.wait("100ms")
        failed = await play.last(StepFailed)
        assert (failed.timeout, failed.error.type) == ("startToClose", "TimeoutError")
        assert await play.times(StepFailed) == ["40s"]
        await play.take("work")
        assert await play.completes(first, "late") == "ignored"
        ignored = await play.last(ResultIgnored)
        assert (ignored.attempt, ignored.output) == (1, "late")
        await play.complete("work", "in time")
        assert (await play.last(StepCompleted)).output == "in time"


async def test_without_a_timeout_a_step_may_take_its_time() -> None:
    """S038."""
    async with playing(one("readOnly: true")) as play:
        await play.take("work")
        await play.wait("24h")
        await play.complete("work")
        assert await play.all(StepFailed) == []


async def test_schedule_to_start_shows_that_workers_are_too_few() -> None:
    """S165: nobody takes it, so it fails where it stands in its queue."""
    async with playing(one("scheduleToStart: 2m, retryPolicy: {maxAttempts: 2}")) as play:
        await play.wait("119s")
        assert await play.all(StepFailed) == []
        await play.wait("1s")
        assert (await play.last(StepFailed)).timeout == "scheduleToStart"
        await play.wait("1s")
        await play.take("work")
        await play.wait("3m")
        assert [event.timeout for event in await play.all(StepFailed)] == ["scheduleToStart"], "taken in time"
        await play.complete("work")


async def test_schedule_to_close_is_the_limit_of_all_attempts_queue_included() -> None:
    """S168."""
    fields = "scheduleToClose: 10s, retryPolicy: {maxAttempts: 9, initialInterval: 1s, backoffCoefficient: 1}"
    async with playing(one(fields)) as play:
        await play.wait("4s")
        await play.fail("work")
        await play.fail("work")
        await play.wait("10s")
        kinds = [(event.attempt, event.timeout) for event in await play.all(StepFailed)]
        assert kinds == [(1, None), (2, None), (3, "scheduleToClose")]
        assert await play.times(StepFailed) == ["4s", "5s", "10s"]
        assert (await play.last(StepFailed)).retry_at is None
        assert (await play.get())["status"] == "failed"


async def test_the_workflow_has_a_timeout() -> None:
    """S164, S024, S089: no instance lives for ever, whatever it is at."""
    async with playing("timeout: 1h\n" + one("readOnly: true")) as play:
        assert (await play.get())["timeoutAt"] == "2026-03-01T13:00:00.000000Z"
        await play.take("work")
        await play.wait("59m")
        assert (await play.get())["status"] == "running"
        await play.wait("1m")
        ended = await play.last(StatusChanged)
        assert (ended.to, ended.outcome, ended.reason) == ("failed", "timed_out", "Workflow timeout exceeded")
        assert await play.times(StatusChanged) == ["0s", "3600s"]
        assert await play.owed() == []


# Heartbeats ----------------------------------------------------------------------------------


async def test_a_silent_worker_loses_the_step_to_another() -> None:
    """S166, S169, S170: progress is seen, and given to the second worker; the late result of the first is refused."""
    async with playing(one("heartbeat: 20s, timeout: 10m, retryPolicy: {initialInterval: 1s}")) as play:
        first = await play.take("work", session="first", worker="w1")
        for done in (1, 2):
            await play.world.pass_time(15)
            assert await play.beat(first, {"packed": done}, session="first") == "ok"
        assert [event.progress for event in await play.all(StepProgressed)] == [{"packed": 1}, {"packed": 2}]
        (entry,) = (await play.get("/history"))["executions"]
        assert entry["attempts"][0]["progress"] == {"packed": 2}
        await play.world.pass_time(19)
        assert await play.all(StepFailed) == []
        await play.world.pass_time(1)
        assert (await play.last(StepFailed)).timeout == "heartbeat"
        assert await play.times(StepFailed) == ["50s"]

        second = await play.take("work", session="second", worker="w2")
        assert (second["attempt"], second["progress"]) == (2, {"packed": 2})
        assert await play.beat(first, {"packed": 3}, session="first") in ("lost", "cancelled")
        assert await play.completes(first, "by the first") == "ignored"
        ignored = await play.last(ResultIgnored)
        assert (ignored.attempt, ignored.why, ignored.output) == (1, "late", "by the first")
        await play.complete("work", "by the second")
        assert [event.worker for event in await play.all(StepStarted)] == ["w1", "w2"]
        assert (await play.get())["data"]["work"] == "by the second"


async def test_a_bare_beat_keeps_the_step_and_writes_nothing() -> None:
    """S166, S169."""
    async with playing(one("heartbeat: 20s, timeout: 10m")) as play:
        task = await play.take("work")
        before = await play.topics()
        for _ in range(6):
            await play.world.pass_time(15)
            assert await play.beat(task) == "ok"
        assert await play.topics() == before
        await play.complete("work")


async def test_a_session_that_is_lost_loses_the_step_at_once() -> None:
    """S170: without any timeout in the definition."""
    async with playing(one("readOnly: true"), lease_seconds=5) as play:
        first = await play.take("work", session="dies")
        await play.world.pass_time(6.5)
        assert (await play.last(StepFailed)).timeout == "leaseLost"
        second = await play.take("work", session="lives", worker="w2")
        assert second["attempt"] == 2
        assert await play.completes(first, "late") == "ignored"
        assert await play.completes(second, "good") == "accepted"
        assert (await play.get())["data"]["work"] == "good"


# Timeouts have a way of their own --------------------------------------------------------------


async def test_timeouts_have_their_own_handler_path() -> None:
    """S171: the handler takes timeouts, and nothing else."""
    text = """
errorHandlers: [{errors: [TimeoutError], next: plan}]
steps:
  - {id: work, type: task, action: worker:w/work, timeout: 30s, retryPolicy: {maxAttempts: 1}}
  - {id: plan, type: task, action: worker:plan/plan}
"""
    async with playing(text) as play:
        await play.take("work")
        await play.wait("30s")
        assert await play.serve() == ["plan"]
        assert (await play.get())["outcome"] == "succeeded"
    async with playing(text) as play:
        await play.fail("work", "OtherError")
        assert (await play.get())["status"] == "failed"


# Business deadlines ----------------------------------------------------------------------------

DEADLINE = """
deadlines: {shipBy: {after: {step: pay}, within: 24h, reach: {step: ship}, escalate: [80, 50, 100]}}
steps:
  - {id: pay, type: task, action: worker:pay/pay, next: pack}
  - {id: pack, type: task, action: worker:pack/pack, next: ship}
  - {id: ship, type: task, action: worker:ship/ship}
"""


async def test_a_deadline_counts_from_the_completion_of_a_step() -> None:
    """S167: not from the start; and reaching its goal meets it."""
    async with playing(DEADLINE) as play:
        await play.wait("5h")
        assert await play.all(DeadlineSet) == []
        await play.complete("pay")
        assert (await play.last(DeadlineSet)).due_at == at("29h")
        await play.wait("11h")
        await play.complete("pack")
        await play.complete("ship")
        assert [event.name for event in await play.all(DeadlineMet)] == ["shipBy"]
        assert await play.all(DeadlineEscalated) == []


async def test_it_escalates_at_each_percentage_once_and_is_missed_once() -> None:
    """S167: at 50, 80 and 100 % of a day; the instance goes on."""
    async with playing(DEADLINE) as play:
        await play.complete("pay")
        await play.wait("48h")
        assert [event.percent for event in await play.all(DeadlineEscalated)] == [50, 80, 100]
        assert await play.times(DeadlineEscalated) == ["43200s", "69120s", "86400s"]
        assert await play.times(DeadlineMissed) == ["86400s"]
        assert [alert.alert_id for alert in await play.all(AlertRaised)] == [
            "@deadline/shipBy/50",
            "@deadline/shipBy/80",
            "@deadline/shipBy/100",
            "@deadline/shipBy/missed",
        ]
        assert (await play.get())["status"] == "running"
        await play.serve()
        assert await play.all(DeadlineMet) == []


async def test_what_is_left_of_a_deadline_steers_the_flow() -> None:
    """S172–S176: with an hour and a half left, and with less than an hour."""
    text = """
deadlines: {shipBy: {after: start, within: 2h, reach: {step: ship}}}
steps:
  - {id: nap, type: wait, for: $.input.nap, next: pay}
  - {id: pay, type: task, action: worker:pay/pay, next: ship,
     timeout: {$if: [$.deadlines.shipBy.remainingMs < 3600000, 10s, 30s]},
     priority: {$if: [$.deadlines.shipBy.remainingMs < 3600000, high, normal]}}
  - {id: ship, type: task, action: worker:ship/ship, input: {mustShipBy: $.deadlines.shipBy.at},
     timeout: {$max: [{$subtract: [$.deadlines.shipBy.remainingMs, {$ms: 30m}]}, {$ms: 5m}]}}
"""
    for nap, priority, patience, shipping in (
        ("30m", "normal", 30_000, 3_600_000),
        ("90m", "high", 10_000, 300_000),
    ):
        async with playing(text, {"nap": nap}) as play:
            await play.wait(nap)
            task = await play.take("pay")
            assert (task["priority"], task["timeoutMs"]) == (priority, patience)
            await play.complete("pay")
            scheduled = await play.last(StepScheduled, "ship")
            assert scheduled.timeouts is not None
            assert scheduled.timeouts.start_to_close_ms == shipping
            assert scheduled.input == {"mustShipBy": "2026-03-01T14:00:00.000000Z"}
            await play.complete("ship")


async def test_a_high_priority_goes_first_in_the_queue() -> None:
    """S174, S207."""
    text = one("readOnly: true, priority: $.input.priority")
    async with playing(text, {"priority": "normal"}) as play:
        calm = play.id
        await play.start({"priority": "high"})
        body = {"worker": "w", "session": "s", "queues": ["w"], "maxTasks": 1}
        (task,) = (await play.ask("POST", "/v1/tasks/poll", body))["tasks"]
        assert task["instanceId"] == play.id != calm


# Slow steps, the hard limit, and nothing left behind ---------------------------------------------


async def test_a_slow_step_is_said_once_per_breach() -> None:
    """S184: workflow, step and how long; a new attempt may breach it anew."""
    async with playing(one("alertAfter: 5m, timeout: 20m")) as play:
        await play.take("work")
        await play.wait("4m")
        assert await play.all(AlertRaised) == []
        await play.wait("15m")
        (alert,) = await play.all(AlertRaised)
        assert (alert.step, alert.message) == ("work", "work has been running for 300000 ms")
        assert (await play.get())["id"] == play.id
        assert await play.times(AlertRaised) == ["300s"]
        await play.wait("1m")
        assert (await play.last(StepFailed)).timeout == "startToClose"
        await play.take("work")
        await play.wait("6m")
        assert len(await play.all(AlertRaised)) == 2
        await play.complete("work")


async def ends_well(play: Play) -> None:
    await play.complete("work")


async def fails(play: Play) -> None:
    await play.fail("work", retryable=False)


async def is_cancelled(play: Play) -> None:
    await play.take("work")
    await play.act("cancel")


async def is_terminated(play: Play) -> None:
    await play.take("work")
    await play.act("terminate")


@pytest.mark.parametrize("end", [ends_well, fails, is_cancelled, is_terminated])
async def test_no_timer_is_left_behind(end: Callable[[Play], Awaitable[None]]) -> None:
    """S186: the table of what is owed is empty, on success and on error, and nothing happens any more."""
    top = "timeout: 1h\ndeadlines: {d: {after: start, within: 30m, reach: {step: work}, escalate: [50]}}"
    async with playing(
        one("timeout: 50s, alertAfter: 40s, heartbeat: 5s, scheduleToClose: 10m", top)
    ) as play:
        assert await play.timers() == ["@deadline/d", "@instance", "work#1"]
        await end(play)
        assert (await play.get())["status"] in ("completed", "failed")
        assert await play.owed() == []
        before = await play.topics()
        await play.wait("3h")
        assert await play.topics() == before


async def test_watching_needs_no_busy_process() -> None:
    """S183: an instance that waits is a row in a table; nobody touches it until its time has come."""
    async with playing(
        "steps: [{id: nap, type: wait, for: 24h, next: woken}, {id: woken, type: succeed}]"
    ) as play:
        (row,) = await play.owed()
        assert (row.kind, row.key, row.timer_at) == ("wake", "nap#1", at("24h"))
        before, calls = await play.topics(), play.world.faults.calls
        calls.clear()
        await play.world.pass_time(60)
        assert {"append", "load", "read", "versions"} & set(calls) == set(), "nobody looks at it"
        await play.until("23.9h")
        assert await play.topics() == before
        await play.until("24h")
        assert (await play.get())["outcome"] == "succeeded"


async def test_timeouts_stand_in_the_definition_and_change_by_version() -> None:
    """S187: those of an instance are those of the version that it began with, and can be read."""
    text = one("timeout: {}, readOnly: true")
    async with playing(text.replace("{}", "30s", 1)) as play:
        await play.deploy(text.replace("{}", "5m", 1))
        first = (await play.take("work"))["timeoutMs"]
        await play.complete("work")
        await play.start()
        second = (await play.take("work"))["timeoutMs"]
        await play.complete("work")
        assert (first, second) == (30_000, 300_000)
        versions = await play.ask("GET", "/v1/definitions/test/versions")
        assert [each["version"] for each in versions["versions"]] == ["1", "2"]
        newest = await play.ask("GET", "/v1/definitions/test")
        assert newest["document"]["steps"][0]["timeout"] == "5m"


# A signal or a time ------------------------------------------------------------------------------

WAIT = """
steps:
  - {id: approval, type: wait, signal: approval, for: 24h, onTimeout: late, next: yes}
  - {id: "yes", type: succeed, result: {by: $.approval}}
  - {id: late, type: fail, error: {type: LateError, message: nobody answered}}
"""


async def test_the_signal_wins_when_it_comes_first() -> None:
    """S179, S030: and the time is nobody's any more."""
    async with playing(WAIT) as play:
        await play.wait("23h")
        await play.signal("approval", "ada")
        assert [event.by for event in await play.all(WaitEnded)] == ["signal"]
        assert (await play.get())["result"] == {"by": "ada"}
        await play.wait("2h")
        assert len(await play.all(WaitEnded)) == 1


async def test_the_time_wins_when_it_is_over_first() -> None:
    """S179, S030: the signal that comes later is refused, and nothing changes."""
    async with playing(WAIT) as play:
        await play.wait("24h")
        assert [event.by for event in await play.all(WaitEnded)] == ["timer"]
        before = await play.topics()
        path = f"/v1/instances/{play.id}/signals/approval"
        await play.ask("POST", path, {"signalId": "s", "payload": "ada"}, 409)
        assert await play.topics() == before
        assert (await play.get())["error"]["type"] == "LateError"


@pytest.mark.parametrize("first", ["signal", "timer"])
async def test_a_race_has_one_winner_that_the_order_of_commands_decides(first: str) -> None:
    """S179: both in the inbox at the same moment, before either is decided."""
    async with playing(WAIT) as play:
        signal: Asked = (SendSignal, {"signal_id": "s", "name": "approval", "payload": "ada"})
        timer: Asked = (FireTimer, {"key": "approval#1"})
        await play.until("23.9999h")
        cast(ManualClock, play.world.clock).advance(at("24h") - play.now)
        asked = [signal, timer] if first == "signal" else [timer, signal]
        acts = [play.world.act(play.id, kind, **fields) for kind, fields in asked]
        await asyncio.gather(*acts, return_exceptions=True)
        assert [event.by for event in await play.all(WaitEnded)] == [first]
