"""Undoing: in reverse order of completion, each with its step's own result (S031, S039, S154–S162)."""

from __future__ import annotations

import pytest

from domain import commands as c
from domain.events import (
    AlertRaised,
    Compensated,
    CompensationEnded,
    CompensationFailed,
    CompensationGivenUp,
    CompensationStarted,
    SavepointReached,
    StatusChanged,
    StepResolved,
    StepScheduled,
)
from domain.state import Stuck
from tests.domain.given import Run, error

ORDER = """
steps:
  - {id: pay, type: task, action: http:pay/charge, compensateWith: refund, next: note}
  - {id: note, type: task, action: http:shop/note, next: reserve}
  - {id: reserve, type: task, action: http:stock/reserve, compensateWith: release, savepoint: stocked, next: ship}
  - {id: ship, type: task, action: http:ship/ship, compensateWith: cancelShipment, next: tell}
  - {id: tell, type: task, action: worker:mail/tell}
  - {id: refund, type: task, action: http:pay/refund, retryPolicy: {maxAttempts: 2, initialInterval: 1s}, timeout: 30s,
     input: {paymentId: $.undo.output.id, amount: $.undo.input.amount, reason: $.undo.reason}}
  - {id: release, type: task, action: http:stock/release, input: {reservationId: $.undo.output.id}}
  - {id: cancelShipment, type: task, action: http:ship/cancel, input: {shipmentId: $.undo.output.id, step: $.undo.step}}
"""


def shipped() -> Run:
    """Everything but the message has been done."""
    run = Run(ORDER).start({"amount": 100})
    for step in ("pay", "note", "reserve", "ship"):
        run.complete(step, {"id": f"{step}-1"})
    return run


def failed() -> Run:
    return shipped().fail_for_good("tell", message="no such address")


def test_what_completed_is_undone_in_reverse_order_one_after_the_other() -> None:
    """S154, S155, S160: note has nothing to undo it, tell did not complete."""
    run = failed()
    assert run.last(CompensationStarted).executions == ["ship#1", "reserve#1", "pay#1"]
    for undo in ("cancelShipment", "release", "refund"):
        assert (run.status, run.handed_out) == ("compensating", [undo])
        run.complete(undo)
    assert [event.undoes for event in run.all(Compensated)] == ["ship#1", "reserve#1", "pay#1"]
    assert run.last(CompensationEnded) == CompensationEnded(
        undone=["ship#1", "reserve#1", "pay#1"], failed=[]
    )
    assert run.statuses == ["pending", "running", "compensating", "completed"]


def test_each_undo_gets_its_own_steps_result_and_the_reason() -> None:
    """S156, S157."""
    run = failed()
    assert run.input == {"shipmentId": "ship-1", "step": "ship"}
    assert run.complete("cancelShipment").input == {"reservationId": "reserve-1"}
    assert run.complete("release").input == {"paymentId": "pay-1", "amount": 100, "reason": "no such address"}


def test_the_end_has_the_outcome_the_reason_and_the_error() -> None:
    """S162."""
    run = failed().serve()
    end = run.last(StatusChanged)
    assert (end.to, end.outcome, end.reason, end.standing) == (
        "completed",
        "compensated",
        "no such address",
        None,
    )
    assert end.error == error("BoomError", "no such address", retryable=False)


def test_an_undo_is_the_execution_of_its_step_with_undo_after_it() -> None:
    scheduled = failed().last(StepScheduled)
    assert (scheduled.execution, scheduled.undoes) == ("ship#1/undo", "ship#1")
    assert scheduled.compensate_with is None


def test_the_order_is_that_of_completion_across_branches() -> None:
    program = """
steps:
  - id: p
    type: parallel
    branches:
      x: [{id: a, type: task, action: http:shop/a, compensateWith: ua}]
      y: [{id: b, type: task, action: http:shop/b, compensateWith: ub}]
    next: c
  - {id: c, type: task, action: http:shop/c}
  - {id: ua, type: task, action: http:shop/ua}
  - {id: ub, type: task, action: http:shop/ub}
"""
    run = Run(program).start().complete("b").complete("a").fail_for_good("c")
    assert run.last(CompensationStarted).executions == ["p.a#1", "p.b#1"]
    assert run.complete("ua").complete("ub").state.outcome == "compensated"


def test_every_visit_of_a_loop_is_undone() -> None:
    program = """
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: u, output: {n: $.n}, next: d}
  - {id: d, type: decision, next: [{condition: $.n < 3, next: a}, {next: f}]}
  - {id: f, type: fail, error: {type: AError}}
  - {id: u, type: task, action: http:shop/u, input: $.undo.output.n}
"""
    run = Run(program).start().complete("a", {"n": 1}).complete("a", {"n": 2}).complete("a", {"n": 3})
    seen = []
    while not run.state.ended:
        seen.append(run.input)
        run.complete("u")
    assert seen == [3, 2, 1]


# When an undo fails ---------------------------------------------------------------------


def test_an_undo_is_retried_by_its_own_policy() -> None:
    run = failed().complete("cancelShipment").complete("release").fail("refund")
    assert run.handed_out == ["refund"]
    assert run.owed["pay#1/undo"].due_at > run.now  # type: ignore[union-attr]
    assert run.complete("refund").state.outcome == "compensated"


def test_the_limits_of_an_undos_later_attempts_may_read_what_it_undoes() -> None:
    program = """
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: u, next: f}
  - {id: f, type: fail, error: {type: AError}}
  - {id: u, type: task, action: http:shop/u, timeout: $.undo.output.within, input: {}}
"""
    run = Run(program).start().complete("a", {"within": "7s"}).fail("u")
    assert run.handed_out == ["u"]
    assert [event.timeouts and event.timeouts.start_to_close_ms for event in run.all(StepScheduled)[1:]] == [
        7_000
    ] * 2


def stuck() -> Run:
    return failed().fail_for_good("cancelShipment", message="gone")


def test_a_failed_undo_stays_visible_and_the_others_go_on() -> None:
    """S158."""
    run = stuck()
    assert run.last(CompensationFailed) == CompensationFailed(
        execution="ship#1/undo", undoes="ship#1", error=error("BoomError", "gone", retryable=False)
    )
    alert = run.last(AlertRaised)
    assert (alert.severity, alert.step, alert.retry_count) == ("high", "ship", 1)
    run.complete("release").complete("refund")
    assert (run.status, run.handed_out) == ("compensating", [])
    assert isinstance(run.state.open["ship#1/undo"], Stuck)


def test_an_undo_that_cannot_even_be_asked_stays_visible_too() -> None:
    run = Run(ORDER).start({}).complete("pay", {"id": 1}).complete("note").fail_for_good("reserve")
    assert run.last(CompensationFailed).error.type == "MappingError"
    assert run.status == "compensating"


def test_an_operator_retries_the_undo() -> None:
    run = stuck().complete("release").complete("refund")
    run.ask(c.RetryStep, execution="ship#1/undo", actor="ann", reason="mended")
    assert run.handed_out == ["cancelShipment"]
    assert run.complete("cancelShipment").state.outcome == "compensated"


def test_an_operator_resolves_the_undo() -> None:
    run = stuck().complete("release").complete("refund")
    run.ask(
        c.ResolveStep, execution="ship#1/undo", output={"by": "phone"}, actor="ann", reason="done by phone"
    )
    assert run.all(StepResolved)
    assert (run.state.outcome, run.state.standing) == ("compensated", [])
    assert run.last(CompensationEnded).undone == ["reserve#1", "pay#1", "ship#1"]


def test_an_operator_gives_the_undo_up() -> None:
    """With what still stands, on record and in an alert."""
    run = stuck()
    run.ask(c.SkipStep, execution="ship#1/undo", actor="ann", reason="hopeless")
    assert run.last(CompensationGivenUp).reason == "hopeless"
    assert run.handed_out == ["release"]
    run.complete("release").complete("refund")
    assert (run.status, run.state.outcome, run.state.standing) == (
        "failed",
        "compensation_failed",
        ["ship#1"],
    )
    assert run.last(CompensationEnded).failed == ["ship#1"]
    assert run.last(AlertRaised).alert_id == "@instance/standing"


def test_while_one_undo_is_under_way_a_given_up_one_does_not_start_another() -> None:
    run = stuck()
    run.claim("release")
    run.ask(c.SkipStep, execution="ship#1/undo", actor="ann", reason="hopeless")
    assert run.handed_out == []


# Partial: under running, and then going on -------------------------------------------------

PARTIAL = """
signals: {cancelOrder: {do: cancel}}
steps:
  - {id: pay, type: task, action: http:pay/charge, compensateWith: refund, next: reserve}
  - {id: reserve, type: task, action: http:stock/reserve, compensateWith: release, savepoint: stocked, next: pack}
  - {id: pack, type: task, action: http:shop/pack, compensateWith: unpack, next: label}
  - {id: label, type: task, action: http:shop/label, compensateWith: unlabel, next: back}
  - {id: back, type: compensate, reason: Warehouse closed, %s, next: ask}
  - {id: ask, type: task, action: http:shop/ask, input: {}}
  - {id: refund, type: task, action: http:pay/refund, input: {why: $.compensation.reason, by: $.compensation.trigger}}
  - {id: release, type: task, action: http:stock/release, input: {}}
  - {id: unpack, type: task, action: http:shop/unpack, input: {}}
  - {id: unlabel, type: task, action: http:shop/unlabel, input: {}}
"""


def back(extent: str) -> Run:
    run = Run(PARTIAL % extent).start()
    for step in ("pay", "reserve", "pack", "label"):
        run.complete(step)
    return run


def test_back_to_a_savepoint_its_own_step_stays() -> None:
    run = back("to: stocked")
    assert run.last(SavepointReached).name == "stocked"
    started = run.last(CompensationStarted)
    assert (started.trigger, started.executions) == ("back#1", ["label#1", "pack#1"])
    assert run.status == "running"
    run.complete("unlabel").complete("unpack")
    assert (run.status, run.handed_out) == ("running", ["ask"])
    assert list(run.state.undo) == ["pay#1", "reserve#1"]


def test_a_savepoint_stands_after_a_step_that_a_person_skipped() -> None:
    """Else going back to it would undo what came before it, too."""
    text = "errorHandlers: [{errors: [SoldOutError], do: pause}]\n" + PARTIAL % "to: stocked"
    run = Run(text).start().complete("pay").fail_for_good("reserve", "SoldOutError")
    run.ask(c.SkipStep, execution="reserve#1", actor="ann", reason="counted by hand")
    assert run.last(SavepointReached).execution == "reserve#1"
    run.complete("pack").complete("label")
    assert run.last(CompensationStarted).executions == ["label#1", "pack#1"]


def test_named_steps_in_reverse_order_of_completion() -> None:
    run = back("steps: [pay, label]")
    assert run.last(CompensationStarted).executions == ["label#1", "pay#1"]
    run.complete("unlabel")
    assert run.input == {"why": "Warehouse closed", "by": "back#1"}


def test_everything_and_going_on() -> None:
    run = back("steps: null").serve()
    assert run.state.outcome == "succeeded"
    assert run.state.undo == {}


def test_what_was_undone_is_not_undone_again() -> None:
    run = back("to: stocked").complete("unlabel").complete("unpack").fail_for_good("ask")
    assert run.last(CompensationStarted).executions == ["reserve#1", "pay#1"]


def test_a_cancel_during_a_partial_rollback_undoes_the_rest_too() -> None:
    """The undo under way goes on; it is not asked for twice."""
    run = back("to: stocked")
    run.claim("unlabel")
    run.signal("cancelOrder")
    assert run.last(CompensationStarted).executions == ["label#1", "pack#1", "reserve#1", "pay#1"]
    assert run.status == "compensating"
    for undo in ("unlabel", "unpack", "release", "refund"):
        run.complete(undo)
    assert run.state.outcome == "cancelled"


def test_an_undo_given_up_in_a_partial_rollback_is_tried_again_in_the_final_one() -> None:
    run = back("steps: [label]").fail_for_good("unlabel")
    run.ask(c.SkipStep, execution="label#1/undo", actor="ann", reason="later")
    run.fail_for_good("ask")
    assert run.last(CompensationStarted).executions == ["label#1", "pack#1", "reserve#1", "pay#1"]
    lease = run.claim("unlabel")
    run.ask(c.CompleteStep, output={}, **lease)
    assert run.ask(c.CompleteStep, output={}, **lease) == [], "said twice, it is a duplicate"
    assert run.serve().state.outcome == "compensated"


@pytest.mark.parametrize("outcome", ["cancelled", "compensated"])
def test_without_next_it_is_the_final_rollback(outcome: str) -> None:
    program = f"""
steps:
  - {{id: a, type: task, action: http:shop/a, compensateWith: u, next: k}}
  - {{id: k, type: compensate, reason: as written, outcome: {outcome}}}
  - {{id: u, type: task, action: http:shop/u}}
"""
    run = Run(program).start().complete("a")
    assert run.status == "compensating"
    run.complete("u")
    assert (run.status, run.state.outcome, run.last(StatusChanged).reason) == (
        "completed",
        outcome,
        "as written",
    )


def test_with_nothing_to_undo_it_passes_through_compensating() -> None:
    run = Run("steps: [{id: k, type: compensate, outcome: cancelled}]").start()
    assert run.statuses == ["pending", "running", "compensating", "completed"]
    assert run.last(CompensationEnded) == CompensationEnded(undone=[], failed=[])


def test_a_partial_rollback_whose_undo_has_failed_waits_for_an_operator() -> None:
    program = """
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: u, next: back}
  - {id: back, type: compensate, reason: not needed, next: b}
  - {id: b, type: task, action: http:shop/b}
  - {id: u, type: task, action: http:shop/u, retryPolicy: {maxAttempts: 1}}
"""
    run = Run(program).start().complete("a")
    assert run.status == "running"
    run.fail_for_good("u")
    assert run.status == "waiting"
    run.ask(c.SkipStep, execution="a#1/undo", actor="ann", reason="it never mattered")
    assert (run.status, run.handed_out) == ("running", ["b"])
