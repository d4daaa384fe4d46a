"""Child workflows as their parent decides them: begun, ended, retried, undone; and what a child hears of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from domain import commands as c
from domain.calls import StepError
from domain.errors import InvalidTransitionError
from domain.events import (
    ChildOrder,
    Compensated,
    CompensationStarted,
    InstanceStarted,
    Parent,
    ResultIgnored,
    StatusChanged,
    StepCancelled,
    StepCompleted,
    StepScheduled,
    StepStarted,
)
from domain.instance import owed
from domain.limits import MAX_CHILD_DEPTH
from domain.owed import Attend
from domain.steps.workflow import child_of
from tests.domain.given import ID, START, Run, at, define, given, names

BILLS = """
steps:
  - {id: charge, type: task, action: http:shop/charge, compensateWith: refund, next: bill}
  - {id: bill, type: workflow, definition: invoice, input: {of: $.charge.id}, output: {number: $.number}, next: ship}
  - {id: ship, type: task, action: http:shop/ship, retryPolicy: {maxAttempts: 1}}
  - {id: refund, type: task, action: http:shop/refund}
"""
CHILD = """
steps:
  - {id: write, type: task, action: http:shop/write, compensateWith: tear}
  - {id: tear, type: task, action: http:shop/tear, retryPolicy: {maxAttempts: 1}}
"""
FIRST = child_of(ID, "bill#1", 1)


def with_step(fields: str, text: str = BILLS) -> str:
    return text.replace("definition: invoice,", f"definition: invoice, {fields},")


def billing(text: str = BILLS, **start: Any) -> Run:
    """A run whose child has begun."""
    return Run(define(text)).start(**start).complete("charge", {"id": 7})


def ended(run: Run, type: str, **fields: Any) -> Run:
    """Its child has ended otherwise than well, as the engine says it."""
    error = StepError(type=type, message="child workflow invoice ended", code="NoPaperError", **fields)
    return run.fail("bill", error)


# Ordered and begun -----------------------------------------------------------------


def test_a_child_begins_by_itself_in_the_commit_that_orders_it() -> None:
    run = Run(define(BILLS)).start(labels={"tier": "gold"})
    charge = run.claim("charge")
    program, log = run.program, list(run.log)
    given(program, *log).when(c.CompleteStep(at=run.now, command_id="x", output={"id": 7}, **charge)).then(
        StepCompleted(execution="charge#1", attempt=1, output={"id": 7}, data={"charge": {"id": 7}}),
        StepScheduled(
            execution="bill#1",
            step="bill",
            name="bill",
            attempt=1,
            action="workflow:invoice",
            queue="workflow",
            input={"of": 7},
            compensate_with="bill",
            child=ChildOrder(definition="invoice", labels={"tier": "gold"}),
        ),
        StepStarted(execution="bill#1", attempt=1, worker="engine", token=FIRST),
        StatusChanged(from_status="running", to="waiting", reason="waiting for child invoice"),
    )


def test_what_is_owed_is_the_child_and_no_timer() -> None:
    run = billing(with_step("timeout: 2d"))
    assert run.owed == {"bill#1": Attend(key="bill#1", attempt=1, action="workflow:invoice", child=FIRST)}
    order = run.all(StepScheduled)[-1].child
    assert order is not None
    assert order.timeout_at == START + timedelta(days=2)


def test_its_result_is_mapped_and_the_parent_goes_on() -> None:
    run = billing().complete("bill", {"number": "R-7", "more": 1})
    assert run.state.data["number"] == "R-7"
    assert "bill" not in run.state.data
    assert run.statuses[-2:] == ["waiting", "running"]
    assert run.handed_out == ["ship"]


def test_only_the_child_itself_is_believed() -> None:
    run = billing()
    run.ask(c.CompleteStep, execution="bill#1", attempt=1, token="another", output={"number": 1})
    assert run.last(ResultIgnored).why == "stale"
    assert "bill#1" in run.state.open


def test_labels_and_the_correlation_id_are_the_childs_own_where_the_step_has_some() -> None:
    text = with_step("labels: {of: $.charge.id}, correlationId: $.charge.id, version: '3'")
    order = billing(text, correlation_id="o-1", labels={"tier": "gold"}).all(StepScheduled)[-1].child
    assert order == ChildOrder(definition="invoice", version="3", labels={"of": "7"}, correlation_id="7")
    plain = billing(correlation_id="o-1").all(StepScheduled)[-1].child
    assert plain == ChildOrder(definition="invoice")


def test_a_child_deeper_than_the_limit_fails_its_step() -> None:
    deepest = billing(parent=Parent("0-above", "s#1", MAX_CHILD_DEPTH - 1))
    order = deepest.all(StepScheduled)[-1].child
    assert order is not None
    assert order.depth == MAX_CHILD_DEPTH
    deeper = billing(parent=Parent("0-above", "s#1", MAX_CHILD_DEPTH))
    assert deeper.state.last_error is not None
    assert deeper.state.last_error.code == "ChildDepthError"
    assert deeper.status == "compensating"


# Ended -------------------------------------------------------------------------------

OUTCOMES = ["Failed", "Compensated", "TimedOut", "Cancelled", "Terminated", "CompensationFailed"]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_type_of_the_error_leads_where_the_definition_says(outcome: str) -> None:
    handlers = f"errorHandlers: [{{errors: [Child{outcome}Error], next: ship}}]"
    handled = ended(billing(f"{handlers}{BILLS}"), f"Child{outcome}Error", retryable=False)
    assert handled.handed_out == ["ship"]
    other = ended(billing(f"{handlers}{BILLS}"), "SomeOtherError", retryable=False)
    assert other.handed_out == ["refund"]


def test_a_fallback_goes_before_the_handlers() -> None:
    run = ended(billing(with_step("fallback: ship")), "ChildFailedError", retryable=False)
    assert run.handed_out == ["ship"]


def test_one_attempt_is_all_that_it_has_unless_the_step_says_otherwise() -> None:
    assert ended(billing(), "ChildFailedError").handed_out == ["refund"]


def test_a_retry_is_another_child_and_begins_when_it_is_due() -> None:
    run = billing(with_step("retryPolicy: {maxAttempts: 2, initialInterval: 5s}, timeout: 1h"))
    ended(run, "ChildFailedError")
    assert run.owed["bill#1"].timer_at == at("5s")
    assert run.status == "running"
    assert names(run.time_out("bill")) == ["StepStarted", "StatusChanged"]
    second = run.last(StepStarted).token
    assert second == child_of(ID, "bill#1", 2) != FIRST
    order = run.last(StepScheduled).child
    assert order is not None
    assert order.timeout_at == at("5s") + timedelta(hours=1)
    run.complete("bill", {"number": "R-8"})
    assert run.handed_out == ["ship"]


# Undone ------------------------------------------------------------------------------


def test_a_cancel_reaches_a_child_that_runs_at_once_and_the_rollback_waits_for_it() -> None:
    run = billing()
    found = run.ask(c.CancelInstance, reason="enough")
    assert names(found) == [
        "CancelRequested",
        "CompensationStarted",
        "StepCancelled",
        "StepScheduled",
        "StepStarted",
        "StatusChanged",
    ]
    assert run.last(StepCancelled).execution == "bill#1"
    undo = run.last(StepScheduled)
    assert (undo.execution, undo.undoes) == ("bill#1/undo", "bill#1")
    assert undo.child == ChildOrder(definition="invoice", do="cancel", reason="enough")
    assert run.last(StepStarted).token == FIRST, "the child that runs, and no other"
    assert run.handed_out == []
    run.complete("bill#1/undo")
    assert run.serve().statuses[-1] == "completed"
    assert [event.undoes for event in run.all(Compensated)] == ["bill#1", "charge#1"]


def test_an_ended_child_is_undone_in_its_turn() -> None:
    run = billing().complete("bill", {"number": 7}).fail_for_good("ship", message="no boat")
    reason = run.last(CompensationStarted).reason
    assert run.last(StepScheduled).child == ChildOrder(definition="invoice", do="cancel", reason=reason)
    assert run.last(StepStarted).token == FIRST
    assert run.handed_out == []
    run.complete("bill#1/undo")
    assert run.handed_out == ["refund"]


def test_effects_that_a_failed_child_left_join_the_list() -> None:
    left = ended(billing(), "ChildTerminatedError", retryable=False, details={"standing": ["write#1"]})
    assert [event.executions for event in left.all(CompensationStarted)] == [["bill#1", "charge#1"]]
    clean = ended(billing(), "ChildTerminatedError", retryable=False)
    assert [event.executions for event in clean.all(CompensationStarted)] == [["charge#1"]]


@pytest.mark.parametrize(("policy", "do"), [("cancel", "cancel"), ("terminate", "terminate")])
def test_a_child_outlives_the_end_of_its_parent_until_it_has_heard_of_it(policy: str, do: str) -> None:
    run = billing(with_step(f"onParentClose: {policy}"))
    run.ask(c.TerminateInstance, reason="enough")
    assert run.state.outcome == "terminated"
    order = run.last(StepScheduled).child
    assert order is not None
    assert (order.do, order.reason) == (do, "enough")
    assert list(run.owed) == ["bill#1/undo"]
    run.complete("bill#1/undo")
    assert run.owed == {}
    assert run.state.outcome == "terminated"


def test_an_abandoned_child_is_never_heard_of_again() -> None:
    run = billing(with_step("onParentClose: abandon"))
    run.ask(c.CancelInstance, reason="enough")
    assert [event.executions for event in run.all(CompensationStarted)] == [["charge#1"]]
    assert run.handed_out == ["refund"]
    assert run.serve().owed == {}


# The child's side --------------------------------------------------------------------


def done() -> Run:
    """A child that has ended."""
    return Run(define(CHILD)).start(parent=Parent("0-parent", "bill#1")).complete("write", {"page": 1})


def test_a_child_that_has_ended_undoes_what_it_did_for_its_parent_and_stays_as_it_ended() -> None:
    run = done()
    ended_at, result = run.state.ended_at, run.state.result
    run.ask(c.UndoInstance, reason="enough", by_parent=True)
    assert run.last(CompensationStarted).trigger == "parent"
    assert run.handed_out == ["tear"]
    run.complete("tear")
    assert (run.state.status, run.state.outcome) == ("completed", "succeeded")
    assert (run.state.ended_at, run.state.result) == (ended_at, result)
    assert (run.state.undo, owed(run.state)) == ({}, {})
    assert run.ask(c.UndoInstance, reason="enough", by_parent=True) == [], "there is nothing left"


def test_it_begins_only_one_such_rollback() -> None:
    run = done()
    run.ask(c.UndoInstance, reason="enough", by_parent=True)
    assert run.ask(c.UndoInstance, reason="enough", by_parent=True) == []


def test_a_person_cannot_undo_what_has_ended() -> None:
    done().refuses(InvalidTransitionError, c.UndoInstance, actor="ann", reason="enough")


def test_the_parents_limit_counts_where_it_is_the_earlier_one() -> None:
    limited = f"timeout: 1h\n{CHILD}"
    for given_at, expected in ((at("30m"), at("30m")), (at("2h"), at("1h")), (None, at("1h"))):
        run = Run(define(limited)).start(timeout_at=given_at)
        assert run.all(InstanceStarted)[0].timeout_at == expected
