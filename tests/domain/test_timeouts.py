"""The five timeouts and schedule-to-close, workflow timeouts, deadlines, slow steps (S163–S187)."""

from __future__ import annotations

import pytest

from domain import commands as c
from domain.events import (
    AlertRaised,
    CompensationStarted,
    DeadlineEscalated,
    DeadlineMet,
    DeadlineMissed,
    DeadlineSet,
    Escalation,
    StatusChanged,
    StepFailed,
    TimeoutKind,
)
from domain.owed import Wake
from tests.domain.given import Run, at, names


def one(fields: str, top: str = "") -> Run:
    return Run(f"{top}\nsteps: [{{id: a, type: task, action: http:shop/a, {fields}}}]").start()


def test_start_to_close() -> None:
    """S163: from the claim on."""
    run = one("timeout: 30s").later("10s")
    lease = run.claim("a")
    assert run.later("29s").fire("a") == []
    run.time_out("a")
    failed = run.last(StepFailed)
    assert (run.now, failed.timeout, failed.error.type) == (at("40s"), "startToClose", "TimeoutError")
    assert run.handed_out == ["a"], "a timeout is retried"
    assert names(run.ask(c.CompleteStep, output={}, **lease)) == ["ResultIgnored"]


def test_schedule_to_start() -> None:
    """S165: nobody takes it."""
    run = one("scheduleToStart: 2m")
    run.time_out("a")
    assert (run.now, run.last(StepFailed).timeout) == (at("2m"), "scheduleToStart")
    assert run.owed["a#1"].timer_at == at("241s"), "from its due time on"


def test_a_claimed_step_does_not_wait_in_the_queue_any_more() -> None:
    run = one("scheduleToStart: 2m")
    run.claim("a")
    assert run.owed["a#1"].timer_at is None
    assert run.later("3m").fire("a") == []


def test_heartbeat() -> None:
    """S166: silence means that the worker failed mid-activity."""
    run = one("heartbeat: 20s")
    run.claim("a")
    run.time_out("a")
    assert (run.now, run.last(StepFailed).timeout) == (at("20s"), "heartbeat")


def test_schedule_to_close_counts_queue_time_and_ends_the_attempts() -> None:
    """S168."""
    run = one("scheduleToClose: 5s, retryPolicy: {maxAttempts: 9, initialInterval: 1s}").fail("a").later("3s")
    run.time_out("a")
    failed = run.last(StepFailed)
    assert (run.now, failed.timeout, failed.retry_at) == (at("5s"), "scheduleToClose", None)
    assert run.status == "failed"


def test_no_retry_is_put_beyond_schedule_to_close() -> None:
    run = one("scheduleToClose: 5s, retryPolicy: {maxAttempts: 9, initialInterval: 6s}").fail("a")
    assert (run.last(StepFailed).retry_at, run.status) == (None, "failed")


@pytest.mark.parametrize(
    ("fields", "claimed", "kind"),
    [
        ("scheduleToClose: 10s, timeout: 10s, heartbeat: 10s", True, "scheduleToClose"),
        ("timeout: 10s, heartbeat: 10s", True, "startToClose"),
        ("scheduleToClose: 10s, scheduleToStart: 10s", False, "scheduleToClose"),
    ],
)
def test_of_several_timeouts_the_widest_is_named(fields: str, claimed: bool, kind: TimeoutKind) -> None:
    run = one(fields)
    if claimed:
        run.claim("a")
    run.time_out("a")
    assert run.last(StepFailed).timeout == kind


def test_timeouts_have_their_own_handler_path() -> None:
    """S171."""
    run = Run(
        """
errorHandlers: [{errors: [TimeoutError], next: plan}]
steps:
  - {id: a, type: task, action: http:shop/a, timeout: 30s, retryPolicy: {maxAttempts: 1}}
  - {id: plan, type: task, action: http:shop/plan}
"""
    ).start()
    run.claim("a")
    run.time_out("a")
    assert run.handed_out == ["plan"]


def test_timers_run_on_while_paused() -> None:
    run = one("scheduleToStart: 2m")
    run.ask(c.PauseInstance, actor="ann", reason="a look")
    run.time_out("a")
    assert run.last(StepFailed).timeout == "scheduleToStart"


def test_no_timer_is_left_behind() -> None:
    """S186."""
    top = "timeout: 1h\ndeadlines: {d: {after: start, within: 30m, reach: {step: a}}}"
    fields = "timeout: 30s, alertAfter: 5m, heartbeat: 5s, scheduleToClose: 10m"
    assert one(fields, top).complete("a").owed == {}
    assert one(fields, top).fail_for_good("a").owed == {}


# The workflow's own -----------------------------------------------------------------------

LIMITED = """
timeout: 1h
onTimeout: %s
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: u, next: b}
  - {id: b, type: task, action: http:shop/b}
  - {id: u, type: task, action: http:shop/u, input: {why: $.undo.reason}}
"""


def test_a_workflow_that_takes_too_long_fails() -> None:
    """S164, S185."""
    run = Run(LIMITED % "fail").start().complete("a")
    run.later("59m")
    assert run.fire("@instance") == []
    run.time_out("@instance")
    assert (run.now, run.status, run.state.outcome) == (at("1h"), "failed", "timed_out")
    assert run.last(StatusChanged).reason == "Workflow timeout exceeded"
    assert run.state.error is not None
    assert (run.state.error.type, run.state.standing) == ("TimeoutError", ["a#1"])


def test_or_compensates_and_fails_then() -> None:
    run = Run(LIMITED % "compensate").start().complete("a")
    run.claim("b")
    run.time_out("@instance")
    assert run.last(CompensationStarted).trigger == "timeout"
    assert (run.status, run.input) == ("compensating", {"why": "Workflow timeout exceeded"})
    assert "@instance" not in run.owed, "it does not count any more"
    run.later("2h").complete("u")
    assert (run.status, run.state.outcome) == ("failed", "timed_out")


def test_with_nothing_to_undo_it_fails_at_once() -> None:
    run = Run(LIMITED % "compensate").start()
    run.time_out("@instance")
    assert (run.statuses, run.state.outcome) == (["pending", "running", "failed"], "timed_out")


def test_the_timeout_does_not_count_in_the_final_rollback() -> None:
    run = Run(LIMITED % "fail").start().complete("a").fail_for_good("b").later("2h")
    assert run.ask(c.FireTimer, key="@instance") == []
    assert run.complete("u").state.outcome == "compensated"


def test_a_waiting_instance_times_out_too() -> None:
    run = Run("timeout: 1h\nsteps: [{id: w, type: wait, signal: go}]").start()
    run.time_out("@instance")
    assert run.statuses == ["pending", "running", "waiting", "failed"]


def test_timers_of_what_is_not_there_yield_nothing() -> None:
    run = one("timeout: 30s")
    for key in ("nowhere#1", "@deadline/none", "@instance"):
        assert run.ask(c.FireTimer, key=key) == []


# Business deadlines ---------------------------------------------------------------------------

DEADLINE = """
deadlines: {shipBy: {after: %s, within: 24h, reach: {step: ship}, escalate: [80, 50]}}
steps:
  - {id: pay, type: task, action: http:shop/pay, next: look}
  - {id: look, type: wait, for: 1h, next: ship}
  - {id: ship, type: task, action: http:shop/ship, next: tell}
  - {id: tell, type: task, action: http:shop/tell}
"""


def with_deadline(after: str) -> Run:
    return Run(DEADLINE % after).start().later("2h")


def test_a_deadline_counts_from_the_start() -> None:
    run = with_deadline("start")
    assert run.last(DeadlineSet).due_at == at("24h")


def test_or_from_the_completion_of_a_step() -> None:
    """S167."""
    run = with_deadline("{step: pay}")
    assert run.all(DeadlineSet) == []
    run.complete("pay")
    assert run.all(DeadlineSet) == [
        DeadlineSet(
            name="shipBy",
            due_at=at("26h"),
            escalations=[Escalation(50, at("14h")), Escalation(80, at("21.2h"))],
        )
    ]
    assert run.owed["@deadline/shipBy"] == Wake(key="@deadline/shipBy", timer_at=at("14h"))


def test_whatever_kind_of_step_that_is() -> None:
    program = """
deadlines:
  a: {after: {step: w}, within: 1h, reach: {step: p}}
  b: {after: {step: p}, within: 1h, reach: {step: done}}
steps:
  - {id: w, type: wait, for: 1m, next: p}
  - {id: p, type: parallel, branches: {x: [{id: t, type: task, action: http:shop/t}]}, next: d}
  - {id: d, type: decision, next: [{next: done}]}
  - {id: done, type: succeed}
"""
    run = Run(program).start()
    run.time_out("w")
    run.complete("t")
    assert [event.name for event in run.all(DeadlineSet)] == ["a", "b"]
    assert [event.name for event in run.all(DeadlineMet)] == ["a", "b"]


def test_it_is_met_when_its_step_completes() -> None:
    run = with_deadline("start").complete("pay")
    run.time_out("look")
    run.complete("ship")
    assert run.all(DeadlineMet) == [DeadlineMet(name="shipBy")]
    assert list(run.owed) == ["tell#1"]


def test_it_escalates_once_at_each_percentage_and_is_missed_once() -> None:
    run = with_deadline("start")
    escalated = run.time_out("@deadline/shipBy")
    assert names(escalated) == ["DeadlineEscalated", "AlertRaised"]
    assert (run.now, run.last(DeadlineEscalated).percent) == (at("12h"), 50)
    assert run.fire("@deadline/shipBy") == []
    run.time_out("@deadline/shipBy")
    run.time_out("@deadline/shipBy")
    assert [event.percent for event in run.all(DeadlineEscalated)] == [50, 80]
    assert run.all(DeadlineMissed)[0].name == "shipBy"
    assert [(alert.alert_id, alert.severity) for alert in run.all(AlertRaised)] == [
        ("@deadline/shipBy/50", "medium"),
        ("@deadline/shipBy/80", "high"),
        ("@deadline/shipBy/missed", "high"),
    ]
    assert "@deadline/shipBy" not in run.owed
    assert run.ask(c.FireTimer, key="@deadline/shipBy") == []
    assert run.status == "running", "a missed deadline is said; it fails nothing"


def test_an_engine_that_was_away_catches_up_in_one_go() -> None:
    run = with_deadline("start").later("30h")
    assert names(run.fire("@deadline/shipBy")) == ["DeadlineEscalated", "AlertRaised"] * 2 + [
        "DeadlineMissed",
        "AlertRaised",
    ]


def test_a_missed_deadline_is_not_met_later() -> None:
    run = with_deadline("start").complete("pay")
    run.time_out("look")
    run.later("30h").fire("@deadline/shipBy")
    assert run.complete("ship").all(DeadlineMet) == []


# Slow steps --------------------------------------------------------------------------------


def test_a_slow_step_is_said_once_per_breach() -> None:
    """S184: with how long it has been running."""
    run = one("alertAfter: 5m")
    run.claim("a")
    assert run.later("4m").fire("a") == []
    run.time_out("a")
    alert = run.last(AlertRaised)
    assert (alert.alert_id, alert.step, alert.message) == (
        "a#1/slow",
        "a",
        "a has been running for 300000 ms",
    )
    assert run.later("5m").fire("a") == []
    assert run.owed["a#1"].timer_at is None
    run.fail("a").claim("a")
    run.time_out("a")
    assert len(run.all(AlertRaised)) == 2, "another attempt, another breach"
    assert run.complete("a").status == "completed"


def test_a_slow_step_that_still_beats_is_slow_not_silent() -> None:
    run = one("alertAfter: 30s, heartbeat: 10s")
    run.claim("a")
    run.later("35s")
    assert names(run.fire("a", alive_at=at("32s"))) == ["AlertRaised"]
