"""Starting: what an instance is from its first moment on (S047–S049, S075, S089), and a start put off (`startAt`)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from domain import commands as c
from domain.errors import NotStartedError, SchemaMismatchError
from domain.events import InstanceStarted, Parent, StatusChanged, StepScheduled
from domain.owed import Listen, Wake
from tests.domain.given import Run, at, define, given, tasks

THREE = f"steps:\n{tasks('a', 'b', 'c')}"


def test_three_steps_take_twelve_events() -> None:
    run = Run(THREE).start({"orderId": "o1"}, correlation_id="o1").serve()
    step = ["StepScheduled", "StepStarted", "StepCompleted"]
    assert run.names == ["InstanceStarted", "StatusChanged", *step, *step, *step, "StatusChanged"]
    assert run.statuses == ["pending", "running", "completed"]
    assert run.state.outcome == "succeeded"


def test_the_first_step_is_scheduled_with_the_start() -> None:
    """S049: one command, so one transaction."""
    given(define("steps: [{id: a, name: The first, type: task, action: http:shop/a}]")).when(
        c.StartInstance(at=at(), namespace="default", input={"n": 1}, correlation_id="o1", command_id="c1")
    ).then(
        InstanceStarted(
            namespace="default",
            definition="test",
            version="1",
            definition_hash="hash",
            input={"n": 1},
            correlation_id="o1",
        ),
        StatusChanged(from_status="pending", to="running", reason="started"),
        StepScheduled(
            execution="a#1",
            step="a",
            name="The first",
            attempt=1,
            action="http:shop/a",
            queue="http:shop",
            input={"n": 1},
        ),
    )


def test_only_the_stimulus_carries_the_envelope() -> None:
    run = Run(THREE)
    first, *rest = run.ask(
        c.StartInstance, namespace="default", input={}, actor="ann", reason="a test", request_id="r1"
    )
    assert (first.at, first.command_id, first.actor, first.reason, first.request_id) == (
        at(),
        "c1",
        "ann",
        "a test",
        "r1",
    )
    assert all(event.at is None and event.command_id is None and event.actor is None for event in rest)


def test_what_the_start_says_is_kept() -> None:
    program = "timeout: 48h\nlabels: {tier: $.input.tier, shop: eu, none: $.input.missing}\n" + THREE
    parent = Parent(instance_id="0-1", execution="invoice#1")
    run = Run(program).start(
        {"tier": "premium"}, labels={"shop": "us"}, priority="high", parent=parent, idempotency_key="k"
    )
    state = run.state
    assert state.labels == {"tier": "premium", "shop": "us"}
    assert (state.priority, state.parent) == ("high", parent)
    assert state.created_at == state.started_at == at()
    assert state.timeout_at == at("48h")
    assert run.last(StepScheduled).priority == "high"
    assert run.last(InstanceStarted).idempotency_key == "k"


def test_a_start_repeated_yields_nothing() -> None:
    run = Run(THREE).start()
    assert run.ask(c.StartInstance, namespace="default", input={}) == []


def test_input_unlike_the_schema_is_refused() -> None:
    run = Run("inputSchema: {type: object, required: [orderId]}\n" + THREE)
    refusal = run.refuses(SchemaMismatchError, c.StartInstance, namespace="default", input={})
    assert "orderId" in str(refusal)


NOTHING_YET = [
    c.ClaimStep(at=at(), execution="a#1", attempt=1, worker="w", token="t"),
    c.SendSignal(at=at(), signal_id="1", name="go"),
    c.CancelInstance(at=at()),
    c.FireTimer(at=at(), key="@instance"),
]


@pytest.mark.parametrize("command", NOTHING_YET, ids=lambda command: type(command).__name__)
def test_nothing_can_be_asked_of_what_was_not_started(command: c.Command) -> None:
    given(define(THREE)).when(command).refused(NotStartedError)


def test_a_start_put_off_stays_pending_until_its_time() -> None:
    """S075. The timeout counts from the start, not from the request."""
    run = Run("timeout: 1h\n" + THREE).start(start_at=at("10m"), correlation_id="o1")
    assert run.names == ["InstanceStarted"]
    assert run.status == "pending"
    assert run.owed == {"@instance": Listen(key="@instance", correlation_key="o1", timer_at=at("10m"))}
    assert run.later("9m").fire("@instance") == []
    run.time_out("@instance")
    assert run.state.started_at == at("10m")
    assert run.state.timeout_at == at("70m")
    assert run.handed_out == ["a"]


def test_a_start_in_the_past_begins_at_once() -> None:
    run = Run(THREE)
    run.now = at("1h")
    run.start(start_at=at("10m"))
    assert run.status == "running"


def test_a_pending_instance_can_be_cancelled_and_terminated() -> None:
    cancelled = Run(THREE).start(start_at=at("1h"))
    cancelled.ask(c.CancelInstance, actor="ann", reason="too late")
    assert (cancelled.status, cancelled.state.outcome) == ("failed", "cancelled")
    terminated = Run(THREE).start(start_at=at("1h"))
    terminated.ask(c.TerminateInstance, actor="ann", reason="wrong")
    assert (terminated.status, terminated.state.outcome) == ("failed", "terminated")
    assert cancelled.owed == terminated.owed == {}


def test_an_instance_without_correlation_and_timeout_owes_no_more_than_its_steps() -> None:
    run = Run("steps: [{id: w, type: wait, for: 5m}]").start()
    assert run.owed == {"w#1": Wake(key="w#1", timer_at=at("5m"))}


def test_two_runs_of_one_program_do_not_affect_each_other() -> None:
    """Law 5: interleaved or on its own, the log is the same."""
    program = define("signals: {note: {set: {note: $.signal.payload}}}\n" + THREE)
    moves: list[Callable[[Run], object]] = [
        lambda run: run.start({"n": 1}),
        lambda run: run.complete("a", {"x": 1}),
        lambda run: run.signal("note", [1, 2], id="1"),
        lambda run: run.fail("b"),
        lambda run: run.serve(),
    ]
    alone, one, other = Run(program), Run(program), Run(program)
    for move in moves:
        move(alone)
    for move in moves:
        move(one)
        move(other)
    assert one.log == other.log == alone.log
