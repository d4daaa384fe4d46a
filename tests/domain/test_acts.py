"""What a person may do: each outcome of the table of ends, each act twice, during a rollback, on an ended instance."""

from __future__ import annotations

from typing import Any

import pytest

from domain import commands as c
from domain.errors import InstanceEndedError, InvalidTransitionError, SchemaMismatchError, StaleTokenError
from domain.events import (
    AlertAcknowledged,
    AlertRaised,
    CancelRequested,
    CompensationStarted,
    DataChanged,
    Event,
    Paused,
    StatusChanged,
    StepCancelled,
    StepSkipped,
    TerminateRequested,
)
from domain.owed import Invoke, Wake
from tests.domain.given import Run, at, names

TWO = """
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: u, scheduleToStart: 1h, next: b}
  - {id: b, type: task, action: http:shop/b, onMaxRetriesExceeded: pause}
  - {id: u, type: task, action: http:shop/u, input: {why: $.undo.reason}}
"""
WHO: dict[str, Any] = {"actor": "ann", "reason": "because"}


def done_a() -> Run:
    return Run(TWO).start().complete("a")


# Cancel -----------------------------------------------------------------------------


def test_cancel_begins_the_rollback_at_once() -> None:
    """S125, S177."""
    run = done_a()
    run.claim("b")
    events = run.ask(c.CancelInstance, actor="ann")
    assert names(events) == [
        "CancelRequested",
        "CompensationStarted",
        "StepCancelled",
        "StatusChanged",
        "StepScheduled",
    ]
    assert run.last(CancelRequested).actor == "ann"
    assert run.last(StepCancelled).execution == "b#1"
    assert run.input == {"why": "Workflow cancelled"}
    run.complete("u")
    assert (run.status, run.state.outcome) == ("completed", "cancelled")
    assert run.last(StatusChanged).reason == "Workflow cancelled"


def test_cancel_with_nothing_to_undo_passes_through_compensating() -> None:
    run = Run(TWO).start()
    run.ask(c.CancelInstance, **WHO)
    assert run.statuses == ["pending", "running", "compensating", "completed"]
    assert (run.state.outcome, run.last(StatusChanged).reason) == ("cancelled", "because")
    assert run.state.open == {}


def test_cancel_reaches_a_waiting_and_a_paused_instance() -> None:
    waiting = Run("steps: [{id: w, type: wait, for: 1h}]").start()
    waiting.ask(c.CancelInstance, **WHO)
    assert waiting.statuses == ["pending", "running", "waiting", "compensating", "completed"]
    paused = done_a()
    paused.ask(c.PauseInstance, **WHO)
    paused.ask(c.CancelInstance, **WHO)
    assert (paused.status, paused.handed_out) == ("compensating", [])
    paused.ask(c.ResumeInstance, **WHO)
    assert paused.handed_out == ["u"]


def test_cancel_twice_yields_nothing() -> None:
    run = done_a()
    run.ask(c.CancelInstance, **WHO)
    assert run.ask(c.CancelInstance, **WHO) == []
    run.complete("u")
    assert run.ask(c.CancelInstance, **WHO) == []


def test_cancel_during_the_final_rollback_yields_nothing_and_the_outcome_stays() -> None:
    run = done_a().fail_for_good("b")
    assert run.ask(c.CancelInstance, **WHO) == []
    assert run.complete("u").state.outcome == "compensated"


def test_cancel_and_completion_race_the_first_one_decided_wins() -> None:
    completed = done_a().complete("b")
    completed.refuses(InvalidTransitionError, c.CancelInstance, **WHO)
    cancelled = done_a()
    lease = cancelled.claim("b")
    cancelled.ask(c.CancelInstance, **WHO)
    assert names(cancelled.ask(c.CompleteStep, output={}, **lease)) == ["ResultIgnored"]
    assert cancelled.complete("u").state.outcome == "cancelled"


# Compensate, terminate ------------------------------------------------------------------


def test_an_operator_undoes_it_all() -> None:
    run = done_a()
    first = run.ask(c.UndoInstance, **WHO)[0]
    assert isinstance(first, CompensationStarted)
    assert (first.trigger, first.actor, first.reason) == ("operator", "ann", "because")
    assert run.ask(c.UndoInstance, **WHO) == []
    run.complete("u")
    assert (run.status, run.state.outcome) == ("completed", "compensated")
    assert run.ask(c.UndoInstance, **WHO) == []


def test_undoing_what_has_not_begun_is_refused() -> None:
    Run(TWO).start(start_at=at("1h")).refuses(InvalidTransitionError, c.UndoInstance, **WHO)


def test_terminate_ends_at_once_and_undoes_nothing() -> None:
    run = done_a()
    lease = run.claim("b")
    run.ask(c.TerminateInstance, **WHO)
    assert run.last(TerminateRequested).actor == "ann"
    assert (run.status, run.state.outcome, run.state.standing) == ("failed", "terminated", ["a#1"])
    assert run.last(AlertRaised).alert_id == "@instance/standing"
    assert run.owed == {}
    assert run.ask(c.TerminateInstance, **WHO) == []
    assert names(run.ask(c.CompleteStep, output={}, **lease)) == ["ResultIgnored"]


def test_terminate_during_a_rollback_stops_it_for_good() -> None:
    """Also when a success comes late: nothing goes on, and what stands is named."""
    program = TWO.replace("http:shop/b,", "http:shop/b, compensateWith: u2,") + (
        "  - {id: u2, type: task, action: http:shop/u2}\n"
    )
    run = Run(program).start().complete("a")
    lease = run.claim("b")
    run.ask(c.CancelInstance, **WHO)
    run.claim("u")
    run.ask(c.TerminateInstance, **WHO)
    assert (run.status, run.state.outcome, run.state.standing) == ("failed", "terminated", ["a#1"])
    assert names(run.ask(c.CompleteStep, output={}, **lease)) == ["ResultIgnored", "AlertRaised"]
    assert (run.owed, run.status) == ({}, "failed")


ENDED: list[tuple[type[c.Command], dict[str, Any], type[Exception]]] = [
    (c.CancelInstance, {}, InvalidTransitionError),
    (c.UndoInstance, {}, InvalidTransitionError),
    (c.TerminateInstance, {}, InvalidTransitionError),
    (c.PauseInstance, {}, InstanceEndedError),
    (c.ResumeInstance, {}, InstanceEndedError),
    (c.ChangeData, {"data": {"x": 1}}, InstanceEndedError),
]


@pytest.mark.parametrize(("kind", "fields", "refusal"), ENDED, ids=lambda one: getattr(one, "__name__", ""))
def test_what_cannot_be_done_to_an_ended_instance(
    kind: type[c.Command], fields: dict[str, Any], refusal: type[Any]
) -> None:
    """S108–S110: and the refusal names both statuses."""
    run = done_a().complete("b")
    problem = run.refuses(refusal, kind, **WHO, **fields)
    assert "completed" in str(problem)


# Pause, resume --------------------------------------------------------------------------


def test_a_paused_instance_hands_nothing_out_but_its_timers_run_on() -> None:
    run = Run(TWO).start()
    run.ask(c.PauseInstance, **WHO)
    assert (run.last(Paused).actor, run.status) == ("ann", "running")
    assert run.owed == {"a#1": Wake(key="a#1", timer_at=at("1h"))}
    run.refuses(StaleTokenError, c.ClaimStep, execution="a#1", attempt=1, worker="w", token="t")
    run.ask(c.ResumeInstance, **WHO)
    assert isinstance(run.owed["a#1"], Invoke)


def test_what_is_under_way_goes_on_while_paused() -> None:
    run = Run(TWO).start()
    run.claim("a")
    run.ask(c.PauseInstance, **WHO)
    assert run.complete("a").handed_out == []
    run.ask(c.ResumeInstance, **WHO)
    assert run.handed_out == ["b"]


def test_pause_and_resume_twice_yield_nothing() -> None:
    run = Run(TWO).start()
    assert run.ask(c.ResumeInstance, **WHO) == []
    run.ask(c.PauseInstance, **WHO)
    assert run.ask(c.PauseInstance, **WHO) == []


# Data, alerts ----------------------------------------------------------------------------


def test_data_can_be_changed_once_and_reserved_names_never() -> None:
    run = Run(TWO).start()
    run.ask(c.ChangeData, data={"x": {"n": 1}}, **WHO)
    assert run.last(DataChanged).data == {"x": {"n": 1}}
    assert run.state.data["x"] == {"n": 1}
    assert run.ask(c.ChangeData, data={"x": {"n": 1}}, **WHO) == []
    run.refuses(SchemaMismatchError, c.ChangeData, data={"input": {}}, **WHO)


def test_an_alert_is_acknowledged_once() -> None:
    run = done_a().fail("b").fail("b").fail("b")
    (alert,) = run.state.alerts
    run.ask(c.AcknowledgeAlert, alert_id=alert, **WHO)
    assert run.last(AlertAcknowledged).actor == "ann"
    assert run.state.alerts == {}
    assert run.ask(c.AcknowledgeAlert, alert_id=alert, **WHO) == []


def test_every_act_of_a_person_is_on_record_with_actor_and_reason() -> None:
    run = done_a().fail("b").fail("b").fail("b")
    acts: list[Event] = [
        run.ask(c.SkipStep, execution="b#1", **WHO)[0],
    ]
    assert isinstance(acts[0], StepSkipped)
    assert all((act.actor, act.reason) == ("ann", "because") for act in acts)
