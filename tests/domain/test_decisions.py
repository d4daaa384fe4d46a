"""Decisions and transitions: the first true condition wins, none true is an error unless there is a default."""

from __future__ import annotations

import pytest

from domain.events import BusinessStatusChanged, DecisionMade, StatusChanged
from tests.domain.given import Run

PAID = """
steps:
  - {id: pay, type: task, action: http:shop/pay, output: {payment: $}, next: isPaid}
  - id: isPaid
    type: decision
    next: [{condition: "$.payment.status == 'declined'", next: declined},
           {condition: "$.payment.status == 'held' && $.input.amount > 100", next: held}, {next: ship}]
  - {id: ship, type: task, action: http:shop/ship}
  - {id: held, type: wait, for: 1h, next: ship}
  - {id: declined, type: fail, error: {type: PaymentDeclinedError, message: $.payment.reason}}
"""


@pytest.mark.parametrize(
    ("status", "amount", "next", "transition"),
    [
        ("declined", 1, "declined", 0),
        ("held", 101, "held", 1),
        ("held", 100, "ship", None),
        ("ok", 1, "ship", None),
    ],
)
def test_the_first_condition_that_holds_is_taken(
    status: str, amount: int, next: str, transition: int | None
) -> None:
    """S036, S044: with the brief's own condition."""
    run = Run(PAID).start({"amount": amount}).complete("pay", {"status": status, "reason": "no funds"})
    assert run.all(DecisionMade) == [
        DecisionMade(execution="isPaid#1", step="isPaid", next=next, transition=transition)
    ]


def test_a_decision_calls_no_service_and_leaves_nothing_open() -> None:
    """S028."""
    run = Run(PAID).start({"amount": 1}).complete("pay", {"status": "ok"})
    assert list(run.state.open) == ["ship#1"]


def test_a_missing_path_in_a_condition_is_false() -> None:
    run = Run(PAID).start({}).complete("pay", {"status": "held"})
    assert run.handed_out == ["ship"]


def test_a_fail_step_ends_with_its_error() -> None:
    run = Run(PAID).start({}).complete("pay", {"status": "declined", "reason": "no funds"})
    end = run.last(StatusChanged)
    assert (end.to, end.outcome, end.reason) == ("failed", "failed", "no funds")
    assert end.error is not None
    assert (end.error.type, end.error.retryable) == ("PaymentDeclinedError", False)


def test_no_condition_and_no_default_is_an_error() -> None:
    program = 'steps: [{id: d, type: decision, next: [{condition: "$.input.n == 1", next: e}]}, {id: e, type: succeed}]'
    assert Run(program).start({"n": 1}).state.outcome == "succeeded"
    run = Run(program).start({"n": 2})
    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error.type == "NoTransitionError"


def test_a_task_may_choose_as_well() -> None:
    program = """
steps:
  - {id: a, type: task, action: http:shop/a, next: [{condition: $.a.n > 1, next: b}, {next: c}]}
  - {id: b, type: task, action: http:shop/b}
  - {id: c, type: task, action: http:shop/c}
"""
    assert Run(program).start().complete("a", {"n": 2}).handed_out == ["b"]
    assert Run(program).start().complete("a", {"n": 1}).handed_out == ["c"]


LOOP = """
onFailure: {on_failure}
steps:
  - {{id: a, type: task, action: http:shop/a, compensateWith: u, next: d}}
  - {{id: d, type: decision, next: [{{condition: $.never == true, next: a}}, {{next: e}}]}}
  - {{id: e, type: decision, next: [{{next: d}}]}}
  - {{id: u, type: task, action: http:shop/u}}
"""


@pytest.mark.parametrize(("on_failure", "status"), [("compensate", "compensating"), ("fail", "failed")])
def test_a_definition_that_loops_for_ever_fails_as_the_definition_says(on_failure: str, status: str) -> None:
    run = Run(LOOP.format(on_failure=on_failure)).start().complete("a")
    assert run.status == status
    assert "loops for ever" in run.last(StatusChanged).reason  # type: ignore[operator]


def test_a_condition_sees_the_error_and_the_deadline_of_this_very_moment() -> None:
    """What `$` offers is not older than the events of the same command."""
    program = """
deadlines: {soon: {after: {step: a}, within: 1h, reach: {step: b}}}
errorHandlers: [{errors: [MappingError], next: why}]
steps:
  - {id: a, type: task, action: http:shop/a, input: {at: $.now}, next: d}
  - {id: d, type: decision, next: [{condition: $.deadlines.soon.remainingMs == 3600000, next: b}, {next: lost}]}
  - {id: b, type: task, action: http:shop/b, input: {at: $.now, n: $.missing}}
  - {id: why, type: decision, next: [{condition: "$.lastError.code == 'MappingError'", next: good}, {next: lost}]}
  - {id: good, type: succeed, result: $.lastError.step}
  - {id: lost, type: fail, error: {type: LostError}}
"""
    run = Run(program).start().complete("a")
    assert (run.state.outcome, run.state.result) == ("succeeded", "b")


# Business statuses ---------------------------------------------------------------


def test_business_statuses_stand_beside_the_status() -> None:
    """S124."""
    program = """
signals: {cancelOrder: {do: cancel}}
businessStatus: {compensating: compensating, cancelled: cancelled}
steps:
  - {id: pay, type: task, action: http:shop/pay, businessStatus: processing_payment, compensateWith: refund, next: also}
  - {id: also, type: task, action: http:shop/also, businessStatus: processing_payment, next: ship}
  - {id: ship, type: task, action: http:shop/ship, businessStatus: scheduling_shipment}
  - {id: refund, type: task, action: http:shop/refund}
"""
    run = Run(program).start().complete("pay").complete("also").signal("cancelOrder").complete("refund")
    assert [event.to for event in run.all(BusinessStatusChanged)] == [
        "processing_payment",
        "scheduling_shipment",
        "compensating",
        "cancelled",
    ]
    assert run.state.business_status == "cancelled"
