"""What users read of one instance: when things happened, what each step went through, what is true now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from domain.calls import StepError
from domain.errors import CorruptHistoryError
from domain.events import (
    BlockFailed,
    Compensated,
    CompensationEnded,
    CompensationStarted,
    Event,
    Paused,
    ResultIgnored,
    ScopeClosed,
    ScopeOpened,
    StatusChanged,
    StepFailed,
    StepProgressed,
    StepResolved,
    StepSkipped,
    Timeouts,
    WaitStarted,
)
from domain.evolve import evolve
from domain.history import (
    Happened,
    StepExecution,
    Stimulus,
    instance_view,
    near_timeouts,
    step_executions,
    timed,
    transitions,
)
from domain.state import State
from domain.times import milliseconds_between, rfc3339
from tests.projections.histories import (
    BUSY,
    NOON,
    Command,
    after,
    approved,
    cancelled,
    claimed,
    command,
    compensated,
    done,
    happy,
    retried,
    scheduled,
    started,
    status,
    stuck,
    undo_failed,
)


def history(*commands: Command) -> list[Happened]:
    events = [event for events in commands for event in events]
    return list(timed(enumerate(events, start=1)))


def executions(*commands: Command) -> dict[str, StepExecution]:
    return {execution.execution: execution for execution in step_executions(history(*commands))}


def state_of(*commands: Command) -> State:
    state = State(id="i1")
    for events in commands:
        for event in events:
            evolve(state, event)
    return state


def view(*commands: Command, **more: bool) -> dict[str, Any]:
    return instance_view(state_of(*commands), history(*commands), **more)


# Times -----------------------------------------------------------------------


def test_times_are_utc_with_microseconds_always() -> None:
    assert rfc3339(NOON) == "2026-11-23T12:00:00.000000Z"
    assert (
        rfc3339(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000000Z"
    )
    assert rfc3339(datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=UTC)) == "2026-01-01T00:00:00.000005Z"
    assert milliseconds_between(rfc3339(NOON), rfc3339(after(1.25))) == 1250
    with pytest.raises(ValueError, match="no time zone"):
        rfc3339(NOON.replace(tzinfo=None))


def test_a_consequence_happened_when_its_stimulus_did_and_on_the_same_behalf() -> None:
    told = history(*stuck())
    retry = [now for now in told if now.at == after(100)]
    assert [(now.actor, now.version) for now in retry] == [("bob", 9), ("bob", 10), ("bob", 11)]
    assert [now.reason for now in retry] == ["the bank is back", "the bank is back", "retried"]


def test_reading_can_begin_in_the_middle_of_a_command() -> None:
    rest: list[tuple[int, Event]] = [(2, Paused())]
    with pytest.raises(CorruptHistoryError, match="version 2: a consequence has no stimulus"):
        list(timed(rest))
    (now,) = timed(rest, Stimulus(NOON, "alice", "because"))
    assert (now.at, now.actor, now.reason) == (NOON, "alice", "because")


# Transitions -----------------------------------------------------------------


def test_every_change_of_status_says_from_to_reason_when_and_who() -> None:
    first, second = msgspec.to_builtins(transitions(history(*happy())))
    assert first == {
        "type": "transition",
        "version": 2,
        "from": "pending",
        "to": "running",
        "reason": "started",
        "timestamp": "2026-11-23T12:00:00.000000Z",
        "actor": "alice",
    }
    assert (second["from"], second["to"], "actor" in second) == ("running", "completed", False)


# Step executions -------------------------------------------------------------


def test_a_completed_step_has_input_output_times_and_worker() -> None:
    (charge, decision, ship) = step_executions(history(*happy()))
    assert msgspec.to_builtins(charge) == {
        "execution": "charge#1",
        "stepId": "charge",
        "stepName": "Charge",
        "kind": "task",
        "status": "completed",
        "version": 4,
        "attempt": 1,
        "worker": "w1",
        "input": {"for": "charge"},
        "output": {"id": "charge"},
        "scheduledAt": "2026-11-23T12:00:00.000000Z",
        "startedAt": "2026-11-23T12:00:01.000000Z",
        "completedAt": "2026-11-23T12:00:02.000000Z",
        "durationMs": 1000,
        "attempts": [
            {
                "attempt": 1,
                "worker": "w1",
                "scheduledAt": "2026-11-23T12:00:00.000000Z",
                "startedAt": "2026-11-23T12:00:01.000000Z",
                "endedAt": "2026-11-23T12:00:02.000000Z",
            }
        ],
    }
    assert (decision.kind, decision.status, decision.next, decision.duration_ms) == (
        "decision",
        "completed",
        "ship",
        0,
    )
    assert ship.duration_ms == 1250


@pytest.mark.parametrize(("commands", "expected"), [(1, "scheduled"), (2, "started"), (3, "completed")])
def test_a_step_goes_from_scheduled_to_started_to_completed(commands: int, expected: str) -> None:
    assert executions(*happy()[:commands])["charge#1"].status == expected


def test_a_failed_attempt_says_why_how_often_and_when_the_next_one_comes() -> None:
    failed = executions(*retried()[:5])["ship#1"]
    assert (failed.status, failed.next_retry, failed.retry_count) == ("retrying", rfc3339(after(9)), 1)
    first, second = msgspec.to_builtins(failed.attempts)
    assert first["error"] == {
        "type": "ServiceUnavailableError",
        "message": "try again",
        "code": "ServiceUnavailableError",
        "retryCount": 1,
    }
    assert (first["endedAt"], first["nextRetry"]) == (rfc3339(after(4)), rfc3339(after(9)))
    assert (second["dueAt"], "startedAt" in second) == (rfc3339(after(9)), False)


def test_a_step_that_succeeded_in_the_end_keeps_its_failures_in_its_attempts() -> None:
    ship = executions(*retried())["ship#1"]
    assert (ship.status, ship.error, ship.attempt, ship.retry_count) == ("completed", None, 2, 1)
    assert [attempt.error is None for attempt in ship.attempts] == [False, True]
    assert ship.duration_ms == 7000  # From its first start.


def test_a_lost_lease_is_no_failure_of_the_step() -> None:
    lost = StepFailed(
        execution="ship#1",
        attempt=1,
        error=StepError(type="LeaseLostError", message="gone"),
        timeout="leaseLost",
        retry_at=after(4),
    )
    ship = executions(*happy()[:4], command(4, lost, scheduled("ship#1", 2, due_at=after(4))))["ship#1"]
    assert (ship.status, ship.retry_count, ship.attempts[0].timeout) == ("retrying", 0, "leaseLost")


def test_what_was_undone_names_its_undo_and_the_undo_names_it() -> None:
    told = executions(*compensated())
    charge, ship, undo = told["charge#1"], told["ship#1"], told["charge#1/undo"]
    assert (charge.status, charge.compensated_by, charge.output) == (
        "compensated",
        "charge#1/undo",
        {"id": "charge"},
    )
    assert (ship.status, ship.error and ship.error.retry_count) == ("failed", 1)
    assert (undo.kind, undo.status, undo.undoes, undo.step_id) == ("undo", "completed", "charge#1", "refund")
    assert undo.output == {"refunded": True}


def test_an_undo_that_failed_waits_for_a_person_until_it_is_given_up() -> None:
    waiting = executions(*undo_failed()[:7])["charge#1/undo"]
    assert (waiting.status, waiting.waiting_for, waiting.completed_at) == (
        "failed",
        "manual_resolution",
        None,
    )
    over = executions(*undo_failed())["charge#1/undo"]
    assert (over.status, over.waiting_for, over.completed_at) == ("failed", None, rfc3339(after(60)))
    assert over.error is not None
    assert executions(*undo_failed())["charge#1"].status == "completed"


def test_a_stuck_step_waits_for_a_person_and_can_be_retried() -> None:
    waiting = executions(*stuck()[:3])["charge#1"]
    assert (waiting.status, waiting.waiting_for, waiting.completed_at) == (
        "failed",
        "manual_resolution",
        None,
    )
    again = executions(*stuck()[:4])["charge#1"]
    assert (again.status, again.waiting_for, again.attempt) == ("retrying", None, 2)
    assert executions(*stuck())["charge#1"].status == "completed"


def test_a_stuck_step_can_be_resolved_or_skipped_by_a_person() -> None:
    resolved = command(
        50, StepResolved(execution="charge#1", output={"id": "by hand"}), actor="bob", reason="paid"
    )
    charge = executions(*stuck()[:3], resolved)["charge#1"]
    assert (charge.status, charge.output, charge.ended_by, charge.error) == (
        "completed",
        {"id": "by hand"},
        "bob",
        None,
    )
    skipped = command(50, StepSkipped(execution="charge#1"), actor="bob", reason="free of charge")
    assert executions(*stuck()[:3], skipped)["charge#1"].status == "skipped"


def test_resolving_an_undo_by_hand_undoes_its_step() -> None:
    resolved = command(50, StepResolved(execution="charge#1/undo"), actor="bob", reason="refunded by hand")
    assert executions(*undo_failed()[:7], resolved)["charge#1"].status == "compensated"


def test_a_wait_says_what_it_waits_for_and_what_ended_it() -> None:
    waiting = executions(*approved()[:1])["approval#1"]
    assert (waiting.kind, waiting.status, waiting.waiting_for) == ("wait", "waiting", "signal")
    assert (waiting.signal, waiting.until) == ("approval", rfc3339(after(86400)))
    over = executions(*approved())["approval#1"]
    assert (over.status, over.waiting_for, over.ended_by, over.duration_ms) == (
        "completed",
        None,
        "signal",
        30_000,
    )
    timer = command(5, WaitStarted(execution="pause#1", step="pause", until=after(60)))
    assert executions(happy()[0], timer)["pause#1"].waiting_for == "timer"


def test_a_cancelled_step_ends_when_it_was_cancelled() -> None:
    charge = executions(*cancelled())["charge#1"]
    assert (charge.status, charge.completed_at) == ("cancelled", rfc3339(after(2)))
    assert charge.attempts[0].ended_at == rfc3339(after(2))


def test_a_task_that_chooses_among_its_transitions_is_no_second_execution() -> None:
    chosen = happy()
    chosen[2][1].execution, chosen[2][1].step = "charge#1", "charge"  # type: ignore[attr-defined]
    told = executions(*chosen)
    assert list(told) == ["charge#1", "ship#1"]
    assert (told["charge#1"].next, told["charge#1"].kind, told["charge#1"].output) == (
        "ship",
        "task",
        {"id": "charge"},
    )


def test_progress_and_late_results_stand_with_their_attempt() -> None:
    beat = command(3.5, StepProgressed(execution="ship#1", attempt=1, progress={"packed": 3}))
    late = command(11, ResultIgnored(execution="ship#1", attempt=1, why="late", output={"id": "late"}))
    first, second = executions(*retried()[:4], beat, *retried()[4:], late)["ship#1"].attempts
    assert (first.progress, first.ignored) == ({"packed": 3}, "late")
    assert (second.progress, second.ignored) == (None, None)


def test_a_scope_and_its_failed_block_are_in_the_history() -> None:
    opened = command(1, ScopeOpened(execution="prepare#1", step="prepare", blocks=["a", "b"]))
    failed = command(2, BlockFailed(execution="prepare#1", block="a", error=BUSY))
    closed = command(3, ScopeClosed(execution="prepare#1", data={"b": 1}))
    scope = executions(opened, failed)["prepare#1"]
    assert (scope.kind, scope.status, scope.error and scope.error.message) == (
        "scope",
        "started",
        "try again",
    )
    scope = executions(opened, failed, closed)["prepare#1"]
    assert (scope.status, scope.output, scope.duration_ms) == ("completed", {"b": 1}, 2000)


def test_a_compensate_step_lasts_as_long_as_what_it_undoes() -> None:
    begin = command(5, CompensationStarted(trigger="askAgain#1", reason="closed", executions=["charge#1"]))
    undo = command(5, scheduled("charge#1/undo", step="refund", undoes="charge#1"))
    assert executions(*happy()[:3], begin, undo)["askAgain#1"].status == "started"
    end = command(
        8,
        Compensated(execution="charge#1/undo", attempt=1, undoes="charge#1"),
        CompensationEnded(undone=["charge#1"], failed=[]),
    )
    step = executions(*happy()[:3], begin, undo, end)["askAgain#1"]
    assert (step.kind, step.step_id, step.status, step.duration_ms) == (
        "compensate",
        "askAgain",
        "completed",
        3000,
    )


def test_an_execution_that_was_never_opened_is_corruption() -> None:
    with pytest.raises(CorruptHistoryError, match="StepStarted of 'ghost#1'"):
        executions(command(0, claimed("ghost#1")))


# The instance ----------------------------------------------------------------


def test_the_view_of_a_running_instance() -> None:
    told = view(*retried()[:5])
    assert told["id"] == "i1"
    assert (told["status"], told["currentStep"]) == ("running", "ship")
    assert (told["completedSteps"], told["pendingSteps"]) == (["charge", "isPaid"], ["ship"])
    assert told["completedCompensableSteps"] == ["charge"]
    assert told["data"]["input"] == {"orderId": "o-1", "amount": 1200}
    assert told["data"]["charge"] == {"id": "charge"}
    error = {
        "step": "ship",
        "message": "try again",
        "code": "ServiceUnavailableError",
        "timestamp": rfc3339(after(4)),
    }
    assert told["lastError"] == told["data"]["lastError"] == error
    assert (told["createdAt"], told["startedAt"], told["completedAt"]) == (rfc3339(NOON), rfc3339(NOON), None)
    assert "history" not in told


def test_the_view_of_an_ended_instance_is_plain_json() -> None:
    told = view(*happy(), include_history=True)
    assert (told["status"], told["outcome"], told["currentStep"]) == ("completed", "succeeded", None)
    assert (told["completedAt"], told["result"], told["version"]) == (
        rfc3339(after(4.25)),
        {"total": 12.5},
        11,
    )
    assert [entry["stepId"] for entry in told["history"]] == ["charge", "isPaid", "ship"]
    assert msgspec.json.decode(msgspec.json.encode(told)) == told


@pytest.mark.parametrize(
    ("commands", "expected"),
    [(approved()[:1], ["signal"]), (stuck()[:3], ["manual_resolution"]), (happy()[:2], []), (approved(), [])],
)
def test_the_view_says_what_a_waiting_instance_waits_for(
    commands: list[Command], expected: list[str]
) -> None:
    assert view(*commands)["waitingFor"] == expected


def test_steps_near_their_timeout_stand_with_the_limit_they_meet_first() -> None:
    limits = Timeouts(
        schedule_to_start_at=after(120),
        schedule_to_close_at=after(300),
        start_to_close_ms=60_000,
        heartbeat_ms=20_000,
    )
    opening = command(
        0, started(), status("pending", "running", "started"), scheduled("charge#1", timeouts=limits)
    )
    wait = command(
        1, WaitStarted(execution="approval#1", step="approval", signal="approval", until=after(30))
    )
    begun = command(5, claimed("charge#1"))

    def near(*commands: Command) -> list[tuple[str, str, str]]:
        return [(it.step_id, it.timeout, it.at) for it in near_timeouts(state_of(*commands))]

    assert near(opening, wait) == [
        ("approval", "wait", rfc3339(after(30))),
        ("charge", "scheduleToStart", rfc3339(after(120))),
    ]
    assert near(opening, begun) == [("charge", "heartbeat", rfc3339(after(25)))]
    assert near(opening, begun, command(6, done("charge#1"))) == []
    assert view(opening, begun)["nearTimeouts"] == [
        {"execution": "charge#1", "stepId": "charge", "timeout": "heartbeat", "at": rfc3339(after(25))}
    ]


def test_transitions_of_the_status_only() -> None:
    told = [now.event for now in history(*stuck())]
    assert len(transitions(history(*stuck()))) == sum(isinstance(event, StatusChanged) for event in told) == 4


def test_the_current_step_is_the_one_opened_last_and_never_a_scope() -> None:
    opened = command(1, ScopeOpened(execution="prepare#1", step="prepare", blocks=["a", "b"]))
    inside = command(1, scheduled("prepare.pack#1", step="pack"), scheduled("prepare.bill#1", step="bill"))
    opening = command(0, started(), status("pending", "running", "started"))
    assert view(opening)["currentStep"] is None
    assert view(opening, opened)["currentStep"] is None
    assert view(opening, opened, inside)["currentStep"] == "bill"
