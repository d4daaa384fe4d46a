"""Waits and signals: stored always, consumed in order; signal or timer, one wins (S030, S120, S121, S178–S182)."""

from __future__ import annotations

from typing import Any

import pytest

from domain import commands as c
from domain.errors import (
    InstanceEndedError,
    LimitExceededError,
    MappingError,
    SchemaMismatchError,
    SignalConflictError,
    UnknownSignalError,
)
from domain.events import SignalHandled, SignalReceived, StatusChanged, WaitEnded, WaitStarted
from domain.owed import Listen
from domain.signals import MAX_UNCONSUMED
from tests.domain.given import Run, at

APPROVAL = """
steps:
  - {id: pay, type: task, action: http:shop/pay, compensateWith: refund, next: needsApproval}
  - {id: needsApproval, type: decision, next: [{condition: $.input.amount > 100000, next: approval}, {next: ship}]}
  - {id: approval, type: wait, signal: approval, for: {$coalesce: [$.input.within, 24h]}, output: {approval: $.payload},
     onTimeout: timedOut, next: isApproved}
  - id: isApproved
    type: decision
    next: [{condition: "$.approval.decision == 'approved'", next: ship}, {next: rejected}]
  - {id: timedOut, type: compensate, reason: Approval timeout, outcome: cancelled}
  - {id: rejected, type: compensate, reason: Order rejected by approver, outcome: cancelled}
  - {id: ship, type: task, action: http:shop/ship}
  - {id: refund, type: task, action: http:shop/refund, input: {why: $.undo.reason}}
"""


def waiting(amount: int = 100_001, **input: Any) -> Run:
    return Run(APPROVAL).start({"amount": amount, **input}, correlation_id="o1").complete("pay")


def test_approval_is_only_asked_above_the_threshold() -> None:
    """S178."""
    assert waiting(100_000).handed_out == ["ship"]
    assert waiting(100_001).handed_out == []


def test_waiting_is_a_status_and_what_it_waits_for_is_owed() -> None:
    run = waiting()
    assert run.last(StatusChanged).to == "waiting"
    assert run.last(StatusChanged).reason == "waiting for signal approval"
    assert run.owed["approval#1"] == Listen(
        key="approval#1", signal="approval", correlation_key="o1", timer_at=at("24h")
    )


def test_how_long_may_come_from_the_data() -> None:
    assert waiting(within="1h").last(WaitStarted).until == at("1h")


def test_approved_goes_on() -> None:
    """S182."""
    run = waiting().signal("approval", {"decision": "approved"}, id="s1")
    assert run.last(WaitEnded) == WaitEnded(
        execution="approval#1", by="signal", signal_id="s1", data={"approval": {"decision": "approved"}}
    )
    assert (run.status, run.handed_out) == ("running", ["ship"])
    assert run.state.buffer == []


def test_rejected_compensates() -> None:
    """S181."""
    run = waiting().signal("approval", {"decision": "rejected"})
    assert run.input == {"why": "Order rejected by approver"}
    run.complete("refund")
    assert (run.status, run.state.outcome) == ("completed", "cancelled")
    assert run.last(StatusChanged).reason == "Order rejected by approver"


def test_no_answer_compensates() -> None:
    """S180."""
    run = waiting()
    run.time_out("approval")
    assert (run.status, run.input) == ("compensating", {"why": "Approval timeout"})
    assert run.complete("refund").state.outcome == "cancelled"


def test_the_signal_wins_when_it_is_decided_first() -> None:
    """S179."""
    run = waiting()
    run.later("24h").signal("approval", {"decision": "approved"})
    assert run.ask(c.FireTimer, key="approval#1") == []
    assert run.handed_out == ["ship"]


def test_the_timer_wins_when_it_is_decided_first() -> None:
    run = waiting()
    run.time_out("approval")
    before = len(run.log)
    run.signal("approval", {"decision": "approved"})
    assert [type(event) for event in run.log[before:]] == [SignalReceived], (
        "it is stored, and nothing comes of it"
    )
    assert run.status == "compensating"


def test_a_timer_that_is_too_early_yields_nothing() -> None:
    assert waiting().later("23h").fire("approval") == []


# A wait on its own -----------------------------------------------------------------


def test_a_wait_with_only_a_time_goes_on() -> None:
    run = Run(
        "steps: [{id: w, type: wait, for: 5m, next: a}, {id: a, type: task, action: http:shop/a}]"
    ).start()
    assert (run.status, run.last(StatusChanged).reason) == ("waiting", "waiting for a timer")
    run.time_out("w")
    assert run.now == at("5m")
    assert run.handed_out == ["a"]


def test_a_signal_that_does_not_come_in_time_is_a_timeout_error() -> None:
    run = Run("steps: [{id: w, type: wait, signal: go, for: 5m}]").start()
    run.time_out("w")
    assert run.statuses == ["pending", "running", "waiting", "failed"]
    assert run.state.error is not None
    assert run.state.error.type == "TimeoutError"


def test_a_timed_out_wait_has_its_own_handler_path() -> None:
    """S171."""
    program = """
errorHandlers: [{errors: [TimeoutError], next: late}]
steps: [{id: w, type: wait, signal: go, for: 5m}, {id: late, type: task, action: http:shop/late}]
"""
    run = Run(program).start()
    run.time_out("w")
    assert run.handed_out == ["late"]


def test_a_wait_that_ends_everything_passes_through_running() -> None:
    run = Run("steps: [{id: w, type: wait, signal: go}]").start().signal("go", 1)
    assert run.statuses == ["pending", "running", "waiting", "running", "completed"]
    assert run.state.data["w"] == 1


def test_a_payload_that_cannot_be_mapped_fails_the_wait() -> None:
    run = Run("steps: [{id: w, type: wait, signal: go, output: {n: $.payload.n}}]").start().signal("go", {})
    assert run.state.error is not None
    assert run.state.error.type == "MappingError"


def test_a_wait_may_name_its_correlation_key() -> None:
    run = Run("steps: [{id: w, type: wait, signal: go, correlationKey: $.input.parcel}]").start(
        {"parcel": 7}, correlation_id="o1"
    )
    assert run.last(WaitStarted).correlation_key == "7"
    assert run.owed["w#1"] == Listen(key="w#1", signal="go", correlation_key="7")


# Signals before, twice, too many ------------------------------------------------------

TWO = """
steps:
  - {id: a, type: task, action: http:shop/a, next: w}
  - {id: w, type: wait, signal: go, next: v}
  - {id: v, type: wait, signal: go}
"""


def test_a_signal_that_came_before_its_wait_is_consumed_by_it_in_order() -> None:
    run = Run(TWO).start().signal("go", 1).signal("go", 2)
    assert len(run.state.buffer) == 2
    run.complete("a")
    assert (run.state.data["w"], run.state.data["v"], run.status) == (1, 2, "completed")


def test_each_open_wait_takes_one_the_earliest_first() -> None:
    program = """
steps:
  - id: p
    type: parallel
    branches: {x: [{id: w, type: wait, signal: go}], y: [{id: v, type: wait, signal: go}]}
"""
    run = Run(program).start().signal("go", 1)
    assert list(run.owed) == ["p.v#1"]
    assert run.signal("go", 2).state.data == {"input": {}, "w": 1, "v": 2}


def test_the_same_signal_again_yields_nothing_also_after_the_end() -> None:
    run = Run(TWO).start().signal("go", {"a": 1, "b": 2}, id="s1")
    assert run.ask(c.SendSignal, signal_id="s1", name="go", payload={"b": 2, "a": 1}) == []
    run.signal("go", 1).complete("a")
    assert run.status == "completed"
    assert run.ask(c.SendSignal, signal_id="s1", name="go", payload={"a": 1, "b": 2}) == []


def test_the_same_id_with_another_payload_is_refused() -> None:
    run = Run(TWO).start().signal("go", 1, id="s1")
    run.refuses(SignalConflictError, c.SendSignal, signal_id="s1", name="go", payload=2)


def test_a_signal_that_nobody_declares_or_awaits_is_refused() -> None:
    Run(TWO).start().refuses(UnknownSignalError, c.SendSignal, signal_id="1", name="went")


def test_a_signal_to_an_ended_instance_is_refused() -> None:
    run = Run("steps: [{id: w, type: wait, signal: go}]").start().signal("go")
    run.refuses(InstanceEndedError, c.SendSignal, signal_id="9", name="go")


def test_more_signals_than_the_limit_are_refused() -> None:
    run = Run(TWO).start()
    for number in range(MAX_UNCONSUMED - 1):
        run.state.buffer.append(run.state.buffer[0]) if number else run.signal("go", 0, id="s0")
    run.signal("go", 1, id="the last one")
    run.refuses(LimitExceededError, c.SendSignal, signal_id="one more", name="go")


# What the definition does with a signal, whatever step is running ------------------------

RULES = """
signals:
  cancelOrder: {do: cancel, reason: $.signal.payload.reason}
  updateShipping: {set: {shippingAddress: $.signal.payload}, schema: {type: object, required: [city]}}
  note: {}
steps:
  - {id: pay, type: task, action: http:shop/pay, compensateWith: refund, next: ship}
  - {id: ship, type: task, action: http:shop/ship, input: {to: {$coalesce: [$.shippingAddress, $.input.address]}}}
  - {id: refund, type: task, action: http:shop/refund, input: {why: $.undo.reason}}
"""


def test_a_signal_changes_the_data_for_the_steps_to_come() -> None:
    """S121."""
    run = Run(RULES).start({"address": "Ulm"}).signal("updateShipping", {"city": "Bonn"}, id="s1")
    assert run.last(SignalHandled) == SignalHandled(
        signal_id="s1", do="set", data={"shippingAddress": {"city": "Bonn"}}
    )
    assert run.state.buffer == []
    assert run.complete("pay").input == {"to": {"city": "Bonn"}}


def test_a_payload_unlike_the_schema_is_refused() -> None:
    Run(RULES).start().refuses(
        SchemaMismatchError, c.SendSignal, signal_id="1", name="updateShipping", payload={}
    )


def test_a_payload_that_lacks_what_would_be_set_is_refused() -> None:
    run = Run("signals: {s: {set: {x: $.signal.payload.x}}}\nsteps: [{id: w, type: wait, for: 1m}]").start()
    run.refuses(MappingError, c.SendSignal, signal_id="1", name="s", payload={})


def test_a_signal_cancels_and_says_why() -> None:
    """S120, S125: between steps, and no new step starts."""
    run = Run(RULES).start().complete("pay").signal("cancelOrder", {"reason": "changed my mind"})
    assert (run.status, run.handed_out, run.input) == ("compensating", ["refund"], {"why": "changed my mind"})
    run.complete("refund")
    assert (run.state.outcome, run.last(StatusChanged).reason) == ("cancelled", "changed my mind")


@pytest.mark.parametrize("payload", [None, {}, {"other": 1}])
def test_a_cancel_without_the_reason_that_the_definition_reads_still_cancels(payload: Any) -> None:
    run = Run(RULES).start().signal("cancelOrder", payload)
    assert run.last(StatusChanged).reason == "signal cancelOrder"
    assert run.state.outcome == "cancelled"


def test_a_cancel_signal_in_the_final_rollback_changes_nothing_but_is_on_record() -> None:
    run = Run(RULES).start().complete("pay").fail_for_good("ship").signal("cancelOrder", {"reason": "late"})
    assert run.last(SignalHandled).do == "cancel"
    run.complete("refund")
    assert run.state.outcome == "compensated"


def test_a_declared_signal_without_a_rule_is_kept() -> None:
    run = Run(RULES).start().signal("note", "hello")
    assert [signal.payload for signal in run.state.buffer] == ["hello"]


def test_a_signal_that_a_step_waits_for_goes_there_first() -> None:
    run = Run("signals: {go: {do: cancel}}\nsteps: [{id: w, type: wait, signal: go}]").start().signal("go", 1)
    assert (run.state.outcome, run.state.data["w"]) == ("succeeded", 1)


def test_a_signal_reaches_a_paused_and_a_pending_instance() -> None:
    paused = Run(TWO).start()
    paused.ask(c.PauseInstance, actor="ann", reason="a look")
    assert len(paused.signal("go", 1).state.buffer) == 1
    pending = Run(TWO).start(start_at=at("1h")).signal("go", 1)
    pending.time_out("@instance")
    assert pending.complete("a").state.data["w"] == 1
