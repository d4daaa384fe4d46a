"""Tasks: input and output mapping, keys, priorities and computed times, leases, heartbeats (S027–S055, S171–S176)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain import commands as c
from domain.errors import StaleTokenError, UnknownExecutionError
from domain.events import StepCompleted, StepFailed, StepProgressed, StepScheduled, StepStarted, Timeouts
from domain.owed import Await, Invoke
from domain.state import Running
from tests.domain.given import Run, at, error, tasks

ONE = "steps: [{id: a, type: task, action: http:shop/a}]"


def test_without_input_a_task_gets_the_instances_input_and_without_output_writes_under_its_id() -> None:
    run = Run(ONE).start({"n": 1})
    assert run.input == {"n": 1}
    run.complete("a", {"ok": True})
    assert run.state.data == {"input": {"n": 1}, "a": {"ok": True}}


def test_output_mapping_merges_into_the_data_and_loses_no_other_key() -> None:
    """S055, S067."""
    program = """
steps:
  - {id: a, type: task, action: http:shop/a, output: {payment: $.id, whole: $}, next: b}
  - {id: b, type: task, action: http:shop/b, input: {paid: $.payment, n: $.input.n}, output: {payment: $.id}}
"""
    run = Run(program).start({"n": 1}).complete("a", {"id": "p1"})
    assert run.last(StepCompleted).data == {"payment": "p1", "whole": {"id": "p1"}}
    assert run.input == {"paid": "p1", "n": 1}
    run.complete("b", {"id": "p2"})
    assert run.state.data == {"input": {"n": 1}, "payment": "p2", "whole": {"id": "p1"}}


def test_input_that_cannot_be_made_fails_the_step_without_a_call() -> None:
    run = Run("steps: [{id: a, type: task, action: http:shop/a, input: {n: $.missing}}]").start()
    failed = run.last(StepFailed)
    assert (failed.error.type, failed.error.retryable, failed.retry_at) == ("MappingError", False, None)
    assert run.names.count("StepScheduled") == 1
    assert (run.status, run.handed_out) == ("failed", [])


def test_output_that_cannot_be_mapped_fails_the_step_but_its_effect_is_undone() -> None:
    program = """
steps:
  - {id: a, type: task, action: http:shop/a, output: {n: $.missing}, compensateWith: b}
  - {id: b, type: task, action: http:shop/b, input: $.undo.output}
"""
    run = Run(program).start().complete("a", {"id": 1})
    assert run.handed_out == ["b"]
    assert run.input == {"id": 1}


def test_every_attempt_has_the_same_execution_and_input() -> None:
    """S129: the idempotency key is `<instance>/<execution>`."""
    run = Run(ONE).start({"n": 1}).fail("a")
    assert [event.execution for event in run.all(StepScheduled)] == ["a#1", "a#1"]
    assert [event.input for event in run.all(StepScheduled)] == [{"n": 1}, None]
    assert run.input == {"n": 1}


def test_a_loop_gives_new_visits() -> None:
    program = """
steps:
  - {id: ask, type: task, action: http:shop/ask, output: {again: $.again}, next: enough}
  - {id: enough, type: decision, next: [{condition: $.again == true, next: ask}, {next: done}]}
  - {id: done, type: succeed}
"""
    run = Run(program).start().complete("ask", {"again": True}).complete("ask", {"again": False})
    assert [event.execution for event in run.all(StepScheduled)] == ["ask#1", "ask#2"]
    assert run.status == "completed"


def test_queues_are_the_workers_or_the_dispatchers_of_a_service() -> None:
    run = Run("steps: [{id: a, type: task, action: worker:warehouse/pack}]").start()
    assert run.last(StepScheduled).queue == "warehouse"
    assert Run(ONE).start().last(StepScheduled).queue == "http:shop"


# Leases ------------------------------------------------------------------------


def test_a_claim_hands_out_one_lease() -> None:
    run = Run(ONE).start()
    lease = run.claim("a")
    assert run.owed == {
        "a#1": Await(key="a#1", attempt=1, queue="http:shop", token=lease["token"]),
    }
    assert run.ask(c.ClaimStep, worker="w1", **lease) == []
    run.refuses(StaleTokenError, c.ClaimStep, worker="w2", **{**lease, "token": "other"})


def test_an_attempt_in_back_off_cannot_be_claimed_yet() -> None:
    run = Run(ONE).start().fail("a")
    claim = {"execution": "a#1", "attempt": 2, "worker": "w", "token": "t"}
    run.refuses(StaleTokenError, c.ClaimStep, **claim)
    run.later("999ms")
    assert run.ask(c.ClaimStep, **claim), "a millisecond is forgiven: clocks are read at different moments"


@pytest.mark.parametrize("kind", [c.Beat, c.CompleteStep, c.FailStep])
def test_reports_of_what_was_never_handed_out_are_refused(kind: type[c.Command]) -> None:
    run = Run(ONE).start()
    more: dict[str, Any] = (
        {"progress": 1} if kind is c.Beat else {"error": error()} if kind is c.FailStep else {}
    )
    run.refuses(StaleTokenError, kind, execution="a#1", attempt=1, token="forged", **more)
    run.refuses(StaleTokenError, kind, execution="a#1", attempt=7, token="forged", **more)


@pytest.mark.parametrize("execution", ["b#1", "a#9", "a#x", "nowhere", "", "b#1/undo", "nowhere/undo"])
def test_reports_of_executions_that_never_were_are_refused(execution: str) -> None:
    run = Run(ONE).start().complete("a")
    run.refuses(UnknownExecutionError, c.CompleteStep, execution=execution, attempt=1, token="t")


def test_a_lost_lease_retries_at_once_and_does_not_count() -> None:
    run = Run("steps: [{id: a, type: task, action: http:shop/a, retryPolicy: {maxAttempts: 1}}]").start()
    for attempt in range(1, 5):
        run.lose("a")
        failed = run.last(StepFailed)
        assert (failed.attempt, failed.timeout, failed.retry_at) == (attempt, "leaseLost", run.now)
        assert failed.error.type == "LeaseLostError"
    run.complete("a")
    assert run.status == "completed"


def test_the_fifth_lost_lease_fails_the_step() -> None:
    run = Run(ONE).start()
    for _ in range(5):
        run.lose("a")
    assert run.last(StepFailed).retry_at is None
    assert (run.status, run.state.outcome) == ("failed", "failed")
    assert run.names.count("AlertRaised") == 1


def test_only_the_current_token_loses_the_lease() -> None:
    run = Run(ONE).start()
    lease = run.claim("a")
    assert run.ask(c.LoseLease, **{**lease, "token": "other"}) == []
    run.ask(c.LoseLease, **lease)
    assert run.ask(c.LoseLease, **lease) == []


# Heartbeats and progress -------------------------------------------------------


def test_a_heartbeat_with_details_is_an_event_and_the_next_attempt_gets_them() -> None:
    """S169."""
    run = Run(ONE).start()
    lease = run.claim("a")
    run.later("5s").ask(c.Beat, progress={"done": 7}, **lease)
    assert run.last(StepProgressed).progress == {"done": 7}
    assert run.ask(c.Beat, progress={"done": 7}, **lease) == []
    run.lose("a")
    run.claim("a", "w2")
    running = run.state.open["a#1"]
    assert isinstance(running, Running)
    assert running.work.progress == {"done": 7}
    run.refuses(StaleTokenError, c.Beat, progress={"done": 8}, **lease)


def test_a_beat_puts_the_heartbeat_timeout_off() -> None:
    run = Run("steps: [{id: a, type: task, action: http:shop/a, heartbeat: 10s}]").start()
    lease = run.claim("a")
    run.later("9s").ask(c.Beat, progress=1, **lease)
    assert run.owed["a#1"].timer_at == at("19s")
    assert run.later("9s").fire("a") == []
    assert run.later("1s").fire("a", alive_at=run.now - timedelta(seconds=3)) == [], (
        "a bare beat counts as well"
    )
    assert run.fire("a", alive_at=at("1s"))[0] == run.last(StepFailed)
    assert run.last(StepFailed).timeout == "heartbeat"


# Priorities and times from the data ----------------------------------------------

EXPEDITED = """
deadlines: {shipBy: {after: start, within: 24h, reach: {step: ship}}}
steps:
  - {id: pay, type: task, action: http:shop/pay, next: ship}
  - {id: ship, type: task, action: http:shop/ship, onMaxRetriesExceeded: pause,
     input: {mustShipBy: $.deadlines.shipBy.at, left: $.deadlines.shipBy.remainingMs,
             service: {$if: [$.deadlines.shipBy.remainingMs < 3600000, express, standard]}},
     priority: {$if: [$.deadlines.shipBy.remainingMs < 3600000, high, normal]},
     timeout: {$max: [{$subtract: [$.deadlines.shipBy.remainingMs, {$ms: 30m}]}, {$ms: 5m}]},
     scheduleToStart: {$if: [$.deadlines.shipBy.remainingMs < 3600000, 10s, 30s]}}
"""


@pytest.mark.parametrize(
    ("after", "service", "priority", "timeout_ms", "start_within"),
    [
        ("4h", "standard", "normal", (19 * 60 + 30) * 60_000, "30s"),
        ("23h", "standard", "normal", 30 * 60_000, "30s"),
        ("23.5h", "express", "high", 5 * 60_000, "10s"),
        ("25h", "express", "high", 5 * 60_000, "10s"),
    ],
)
def test_the_time_that_is_left_steers_input_priority_and_timeout(
    after: str, service: str, priority: str, timeout_ms: int, start_within: str
) -> None:
    """S172–S176."""
    run = Run(EXPEDITED).start().later(after).complete("pay")
    scheduled = run.last(StepScheduled)
    left = (at("24h") - run.now) // timedelta(milliseconds=1)
    assert scheduled.input == {
        "mustShipBy": "2026-01-02T12:00:00.000000Z",
        "left": left,
        "service": service,
    }
    assert isinstance(scheduled.input["left"], int)
    assert scheduled.priority == priority
    limit = {"10s": 10, "30s": 30}[start_within]
    assert scheduled.timeouts == Timeouts(
        start_to_close_ms=timeout_ms, schedule_to_start_at=run.now + timedelta(seconds=limit)
    )
    effect = run.owed["ship#1"]
    assert isinstance(effect, Invoke)
    assert (effect.priority, effect.due_at) == (priority, run.now)


def test_the_next_attempt_works_its_limits_out_anew() -> None:
    run = Run(EXPEDITED).start().later("22h").complete("pay").later("90m").fail("ship")
    assert [event.priority for event in run.all(StepScheduled)[1:]] == ["normal", "high"]
    assert run.last(StepScheduled).timeouts == Timeouts(
        start_to_close_ms=5 * 60_000, schedule_to_start_at=run.now + timedelta(seconds=1 + 10)
    )


@pytest.mark.parametrize("field", ["priority: $.input.x", "timeout: $.input.x", "scheduleToStart: $.input.x"])
@pytest.mark.parametrize("value", ["soon", True, [1], {}])
def test_a_priority_or_time_of_no_use_fails_the_step(field: str, value: object) -> None:
    run = Run(f"steps: [{{id: a, type: task, action: http:shop/a, {field}}}]").start({"x": value})
    assert run.last(StepFailed).error.type in ("UnusableValueError", "DurationError", "LimitExceededError")
    assert run.status == "failed"


@pytest.mark.parametrize(
    ("value", "limit_ms"), [(-5, 0), (1e30, 3650 * 86_400_000), ("1.5h", 5_400_000), (7.6, 8)]
)
def test_a_time_is_never_negative_and_never_beyond_the_limit(value: object, limit_ms: int) -> None:
    run = Run("steps: [{id: a, type: task, action: http:shop/a, timeout: $.input.x}]").start({"x": value})
    assert run.last(StepScheduled).timeouts == Timeouts(start_to_close_ms=limit_ms)


def test_a_worker_is_named_where_the_step_started() -> None:
    run = Run(f"steps:\n{tasks('a')}").start()
    run.claim("a", "w7")
    assert run.last(StepStarted).worker == "w7"
