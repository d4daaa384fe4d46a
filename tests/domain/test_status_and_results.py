"""The table of statuses, every pair of it, and what an instance's result is by outcome (S099–S110, S126, S127)."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from domain import commands as c
from domain.errors import InvalidTransitionError
from domain.events import Outcome, Status, StatusChanged
from domain.status import TERMINAL, TRANSITIONS, check_transition
from tests.domain.given import Run, at, error

STATUSES: tuple[Status, ...] = get_args(Status)
ALLOWED = {
    ("pending", "running"),
    ("pending", "failed"),
    ("running", "waiting"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "compensating"),
    ("waiting", "running"),
    ("waiting", "failed"),
    ("waiting", "compensating"),
    ("compensating", "completed"),
    ("compensating", "failed"),
}
"""S104–S109, as the brief has them."""


@pytest.mark.parametrize("pair", [*product(STATUSES, STATUSES)], ids="-".join)
def test_a_status_follows_another_exactly_where_the_table_says_so(pair: tuple[Status, Status]) -> None:
    before, after = pair
    if pair in ALLOWED:
        check_transition(before, after, "a reason")
        return
    with pytest.raises(InvalidTransitionError) as refusal:
        check_transition(before, after, "a reason")
    assert before in str(refusal.value)
    assert after in str(refusal.value)
    assert refusal.value.details == {"from_status": before, "to_status": after, "reason": "a reason"}


def test_the_table_is_complete_and_its_ends_are_the_terminal_statuses() -> None:
    assert set(TRANSITIONS) == set(STATUSES)
    assert {"completed", "failed"} == TERMINAL


# Results ---------------------------------------------------------------------------------

ORDER = """
timeout: 1h
signals: {cancelOrder: {do: cancel, reason: $.signal.payload.reason}}
results:
  cancelled: {orderId: $.input.orderId, status: cancelled, reason: $.end.reason}
  compensated: {orderId: $.input.orderId, status: failed, reason: $.end.reason, outcome: $.end.outcome}
  failed: {status: failed, reason: $.end.reason}
  timed_out: {status: late}
  terminated: {status: stopped}
  compensation_failed: {status: trouble}
steps:
  - {id: pay, type: task, action: http:shop/pay, output: {payment: $}, compensateWith: refund, next: ship}
  - {id: ship, type: task, action: http:shop/ship, output: {shipping: $}, next: done}
  - {id: done, type: succeed, result: {orderId: $.input.orderId, status: completed, paymentId: $.payment.id,
     shipmentId: $.shipping.id, trackingNumber: $.shipping.tracking}}
  - {id: refund, type: task, action: http:shop/refund}
"""


def paid() -> Run:
    return Run(ORDER).start({"orderId": "o1"}).complete("pay", {"id": "p1"})


def ended(outcome: Outcome) -> Run:
    run = paid()
    match outcome:
        case "succeeded":
            run.complete("ship", {"id": "s1", "tracking": "t1"})
        case "cancelled":
            run.signal("cancelOrder", {"reason": "changed my mind"}).serve()
        case "compensated":
            run.fail_for_good("ship", message="closed").serve()
        case "failed":
            run = Run(ORDER).start({"orderId": "o1"}).fail_for_good("pay", message="no funds")
        case "timed_out":
            run.time_out("@instance")
        case "terminated":
            run.ask(c.TerminateInstance, actor="ann", reason="wrong")
        case "compensation_failed":
            run.fail_for_good("ship").fail_for_good("refund")
            run.ask(c.SkipStep, execution="pay#1/undo", actor="ann", reason="hopeless")
    return run


RESULTS: list[tuple[Outcome, Status, dict[str, str]]] = [
    (
        "succeeded",
        "completed",
        {
            "orderId": "o1",
            "status": "completed",
            "paymentId": "p1",
            "shipmentId": "s1",
            "trackingNumber": "t1",
        },
    ),
    ("cancelled", "completed", {"orderId": "o1", "status": "cancelled", "reason": "changed my mind"}),
    (
        "compensated",
        "completed",
        {"orderId": "o1", "status": "failed", "reason": "closed", "outcome": "compensated"},
    ),
    ("failed", "failed", {"status": "failed", "reason": "no funds"}),
    ("timed_out", "failed", {"status": "late"}),
    ("terminated", "failed", {"status": "stopped"}),
    ("compensation_failed", "failed", {"status": "trouble"}),
]


@pytest.mark.parametrize(("outcome", "status", "result"), RESULTS, ids=[row[0] for row in RESULTS])
def test_each_outcome_ends_in_its_status_with_its_result(
    outcome: Outcome, status: Status, result: dict[str, str]
) -> None:
    """S126, S127, and the table of ends."""
    run = ended(outcome)
    end = run.last(StatusChanged)
    assert (end.to, end.outcome, end.result) == (status, outcome, result)
    assert (run.state.result, run.state.ended_at) == (result, run.now)


def test_every_outcome_is_tried() -> None:
    assert {row[0] for row in RESULTS} == set(get_args(Outcome))


def test_a_result_that_cannot_be_made_is_an_error_beside_the_outcome() -> None:
    run = (
        Run("results: {succeeded: $.missing}\nsteps: [{id: a, type: task, action: http:shop/a}]")
        .start()
        .complete("a")
    )
    assert (run.status, run.state.outcome, run.state.result) == ("completed", "succeeded", None)
    assert run.state.error is not None
    assert run.state.error.type == "MappingError"


def test_a_succeed_step_whose_result_cannot_be_made_fails() -> None:
    run = Run("steps: [{id: done, type: succeed, result: $.missing}]").start()
    assert (run.status, run.state.outcome) == ("failed", "failed")


def test_an_error_without_a_message_still_gives_the_change_a_reason() -> None:
    """S099."""
    run = Run("steps: [{id: a, type: task, action: http:shop/a}]").start()
    run.fail("a", error(message="", retryable=False))
    assert run.last(StatusChanged).reason == "a failed: "


def test_times_of_a_run_are_those_of_its_commands() -> None:
    """S086–S089."""
    run = Run("timeout: 1h\nsteps: [{id: a, type: task, action: http:shop/a}]").start(start_at=at("5m"))
    run.time_out("@instance")
    run.later("1m").complete("a")
    state = run.state
    assert (state.created_at, state.started_at, state.ended_at, state.timeout_at) == (
        at(),
        at("5m"),
        at("6m"),
        at("65m"),
    )


def test_a_fail_step_gives_its_own_result() -> None:
    run = Run("""
steps:
  - {id: no, type: fail, error: {type: NoError, message: no}, result: {asked: $.input.n}}
""").start({"n": 1})
    assert (run.status, run.state.outcome, run.state.result) == ("failed", "failed", {"asked": 1})


def test_the_business_status_of_a_status_is_shown_from_the_first_change_on() -> None:
    run = Run("""
businessStatus: {running: in progress, completed: done}
steps:
  - {id: a, type: task, action: http:shop/a}
""").start()
    assert run.state.business_status == "in progress"
    assert run.complete("a").state.business_status == "done"


def test_labels_are_texts_as_json_writes_them() -> None:
    run = Run("""
labels: {gift: $.input.gift, tier: $.input.tier, none: $.input.none}
steps:
  - {id: a, type: task, action: http:shop/a}
""").start({"gift": True, "tier": "premium"})
    assert run.state.labels == {"gift": "true", "tier": "premium"}
