"""When a step fails for good: first match wins (semantics, *When a step fails*; S023, S040, S041, S147–S153)."""

from __future__ import annotations

import pytest

from domain import commands as c
from domain.errors import UnknownExecutionError
from domain.events import (
    AlertRaised,
    BlockFailed,
    CompensationStarted,
    StatusChanged,
    StepGivenUp,
    StepScheduled,
)
from domain.state import Stuck
from tests.domain.given import ID, Run, error

HANDLERS = (
    "[{errors: [OtherError], do: fail}, {errors: [ClosedError], steps: [b], next: ask}, "
    "{errors: ['*'], do: pause}]"
)


def steps(b: str = "", top: str = "") -> str:
    """a, which can be undone, and b, which is about to fail."""
    return f"""
{top}
steps:
  - {{id: a, type: task, action: http:shop/a, compensateWith: u, next: b}}
  - {{id: b, type: task, action: http:shop/b, retryPolicy: {{maxAttempts: 2, nonRetryableErrors: [FatalError]}}{b}}}
  - {{id: plan, type: task, action: http:shop/plan}}
  - {{id: ask, type: wait, signal: answer}}
  - {{id: u, type: task, action: http:shop/u, input: {{why: $.undo.reason}}}}
"""


def at_b(b: str = "", top: str = "") -> Run:
    return Run(steps(b, top)).start().complete("a")


ALL = ", fallback: plan, onMaxRetriesExceeded: pause"


def test_1_retryable_with_attempts_left_is_tried_again_whatever_else_there_is() -> None:
    run = at_b(ALL, f"errorHandlers: {HANDLERS}").fail("b")
    assert run.handed_out == ["b"]


def test_2_then_the_steps_fallback() -> None:
    """S040, S148."""
    run = at_b(ALL, f"errorHandlers: {HANDLERS}").fail("b", error("FatalError"))
    assert run.handed_out == ["plan"]
    assert run.all(AlertRaised) == []
    run.complete("plan")
    assert run.state.outcome == "succeeded"


def test_3_then_the_first_error_handler_that_matches() -> None:
    """S023."""
    top = f"errorHandlers: {HANDLERS}"
    assert at_b(", onMaxRetriesExceeded: fail", top).fail_for_good("b", "ClosedError").status == "waiting"
    assert at_b(top=top).fail_for_good("b", "OtherError").state.outcome == "failed"
    paused = at_b(", onMaxRetriesExceeded: fail", top).fail_for_good("b", "AnyError")
    assert isinstance(paused.state.open["b#1"], Stuck)


def test_a_handler_for_other_steps_does_not_match() -> None:
    top = "errorHandlers: [{errors: [ClosedError], steps: [a], next: ask}]"
    assert at_b(top=top).fail_for_good("b", "ClosedError").handed_out == ["u"]


def test_3_a_handler_may_compensate_where_the_definition_would_not() -> None:
    top = 'onFailure: fail\nerrorHandlers: [{errors: ["*"], do: compensate}]'
    assert at_b(top=top).fail_for_good("b").handed_out == ["u"]
    nothing = (
        "errorHandlers: [{errors: ['*'], do: compensate}]\nsteps: [{id: b, type: task, action: http:shop/b}]"
    )
    assert Run(nothing).start().fail_for_good("b").state.outcome == "failed"


def used_up(on: str, top: str = "") -> Run:
    return (
        at_b(f", onMaxRetriesExceeded: {on}" if on else "", top)
        .fail("b")
        .fail("b", error("LastError", "no luck"))
    )


def test_4_attempts_used_up_compensate() -> None:
    """S151."""
    run = used_up("compensate", "onFailure: fail")
    assert (run.status, run.handed_out) == ("compensating", ["u"])
    run.complete("u")
    assert (run.status, run.state.outcome) == ("completed", "compensated")


def test_4_attempts_used_up_pause() -> None:
    """S152."""
    run = used_up("pause")
    assert (run.status, run.handed_out) == ("waiting", [])
    assert run.last(StatusChanged).reason == "waiting for an operator"


def test_4_attempts_used_up_fail() -> None:
    """S153: and the effects that stand are named."""
    run = used_up("fail")
    assert (run.status, run.state.outcome, run.state.standing) == ("failed", "failed", ["a#1"])
    assert [alert.alert_id for alert in run.all(AlertRaised)] == ["b#1/failed", "@instance/standing"]
    assert run.last(AlertRaised).step == "a"


@pytest.mark.parametrize("on", ["compensate", "pause", "fail", ""])
def test_attempts_used_up_raise_the_alert_of_seven_fields(on: str) -> None:
    """S150: the instance and its definition are the stream's."""
    run = used_up(on)
    alert = run.all(AlertRaised)[0]
    assert alert.severity == "high"
    assert (run.state.definition, run.state.id) == ("test", ID)
    assert alert.step == "b"
    assert alert.error == error("LastError", "no luck")
    assert alert.retry_count == 2
    assert alert.action == (on or "compensate")
    assert "manual intervention may be required" in alert.message


def test_an_error_that_is_not_retryable_does_not_count_as_used_up() -> None:
    run = at_b(", onMaxRetriesExceeded: pause").fail("b", error("FatalError"))
    assert run.handed_out == ["u"]
    assert run.all(AlertRaised) == []


def test_5_with_anything_to_undo_the_final_rollback() -> None:
    """S147: a declined step after one with an undo."""
    run = at_b().fail("b", error("FatalError", "no"))
    started = run.last(CompensationStarted)
    assert (started.trigger, started.executions, started.reason) == ("failure", ["a#1"], "no")
    assert run.input == {"why": "no"}
    run.complete("u")
    assert (run.status, run.state.outcome, run.state.error) == (
        "completed",
        "compensated",
        error("FatalError", "no"),
    )


def test_5_with_nothing_to_undo_the_workflow_fails() -> None:
    """S149."""
    run = Run(steps()).start().fail_for_good("a", "FatalError", "no")
    assert (run.statuses, run.state.outcome) == (["pending", "running", "failed"], "failed")
    assert run.last(StatusChanged).reason == "no"
    assert run.state.last_error is not None
    assert (run.state.last_error.step, run.state.last_error.code) == ("a", "FatalError")


def test_6_on_failure_fail_leaves_effects_standing_and_says_so() -> None:
    run = at_b(top="onFailure: fail").fail_for_good("b")
    assert (run.status, run.state.standing) == ("failed", ["a#1"])
    assert run.last(AlertRaised).alert_id == "@instance/standing"


# Paused for manual resolution (S152) -------------------------------------------------


@pytest.fixture
def paused() -> Run:
    return used_up("pause")


def test_an_operator_retries(paused: Run) -> None:
    paused.ask(c.RetryStep, execution="b#1", actor="ann", reason="mended")
    assert (paused.status, paused.handed_out) == ("running", ["b"])
    paused.complete("b")
    assert (paused.status, paused.state.outcome) == ("completed", "succeeded")


def test_after_a_retry_the_policy_counts_anew_and_the_alert_counts_all(paused: Run) -> None:
    paused.ask(c.RetryStep, execution="b#1", actor="ann", reason="mended")
    paused.fail("b")
    assert paused.handed_out == ["b"]
    paused.fail("b")
    assert isinstance(paused.state.open["b#1"], Stuck)
    assert [alert.retry_count for alert in paused.all(AlertRaised)] == [2, 4]


def test_an_operator_lets_it_fail_and_the_definition_says_what_follows(paused: Run) -> None:
    """S152: never `terminated`; the reason and the actor are on record, the error is the step's own."""
    paused.ask(c.FailStuckStep, execution="b#1", actor="ann", reason="no use")
    given_up = paused.last(StepGivenUp)
    assert (given_up.actor, given_up.reason) == ("ann", "no use")
    assert (paused.status, paused.handed_out) == ("compensating", ["u"])
    paused.complete("u")
    assert (paused.state.outcome, paused.state.error) == ("compensated", error("LastError", "no luck"))


def test_with_on_failure_fail_nothing_is_undone_and_what_stands_is_named() -> None:
    run = at_b(", onMaxRetriesExceeded: pause", "onFailure: fail").fail("b").fail("b")
    run.ask(c.FailStuckStep, execution="b#1", actor="ann", reason="no use")
    assert (run.status, run.state.outcome, run.state.standing) == ("failed", "failed", ["a#1"])


def test_in_a_branch_it_is_the_branch_that_has_failed() -> None:
    """Its scope's rules come next: here one of two is enough."""
    run = Run("""
steps:
  - id: both
    type: parallel
    join: any
    onBranchFailure: wait
    branches:
      one: [{id: x, type: task, action: http:shop/x, retryPolicy: {maxAttempts: 1}, onMaxRetriesExceeded: pause}]
      two: [{id: y, type: task, action: http:shop/y}]
""").start()
    run.fail("x")
    run.ask(c.FailStuckStep, execution="both.x#1", actor="ann", reason="no use")
    assert run.last(BlockFailed).block == "one"
    assert run.complete("y").state.outcome == "succeeded"


def test_only_a_step_that_waits_for_a_person_can_be_let_fail(paused: Run) -> None:
    run = at_b()
    run.refuses(UnknownExecutionError, c.FailStuckStep, execution="b#1", actor="ann", reason="no use")
    paused.ask(c.UndoInstance, actor="ann", reason="back")
    paused.fail_for_good("u")
    refusal = paused.refuses(UnknownExecutionError, c.FailStuckStep, execution="a#1/undo", actor="ann")
    assert "given up" in str(refusal)


def test_an_operator_skips(paused: Run) -> None:
    paused.ask(c.SkipStep, execution="b#1", actor="ann", reason="not needed")
    assert paused.statuses[-3:] == ["waiting", "running", "completed"]


def test_an_operator_resolves_with_an_output(paused: Run) -> None:
    paused.ask(c.ResolveStep, execution="b#1", output={"by": "hand"}, actor="ann", reason="done by phone")
    assert paused.state.data["b"] == {"by": "hand"}
    assert paused.status == "completed"


def test_an_operator_compensates(paused: Run) -> None:
    paused.ask(c.UndoInstance, actor="ann", reason="hopeless")
    assert (paused.status, paused.handed_out) == ("compensating", ["u"])
    assert paused.input == {"why": "hopeless"}
    paused.complete("u")
    assert paused.state.outcome == "compensated"


def test_an_operator_fails_it(paused: Run) -> None:
    paused.ask(c.TerminateInstance, actor="ann", reason="hopeless")
    assert (paused.status, paused.state.standing) == ("failed", ["a#1"])


def test_an_operator_changes_the_data_and_the_retry_sees_it() -> None:
    program = """
errorHandlers: [{errors: [MappingError], do: pause}]
steps: [{id: a, type: task, action: http:shop/a, input: {to: $.address}, onMaxRetriesExceeded: pause}]
"""
    run = Run(program).start()
    assert run.status == "waiting"
    run.ask(c.RetryStep, execution="a#1", actor="ann", reason="try")
    assert run.status == "waiting", "it cannot be asked yet"
    run.ask(c.ChangeData, data={"address": "Bonn"}, actor="ann", reason="the customer called")
    run.ask(c.RetryStep, execution="a#1", actor="ann", reason="mended")
    assert run.input == {"to": "Bonn"}
    run.fail("a").fail("a").fail("a")
    run.ask(c.RetryStep, execution="a#1", actor="ann", reason="nothing changed")
    assert run.last(StepScheduled).input is None, "what has not changed is not written again"
    assert run.input == {"to": "Bonn"}


@pytest.mark.parametrize("kind", [c.RetryStep, c.SkipStep, c.ResolveStep])
def test_what_does_not_wait_for_an_operator_cannot_be_moved_by_one(kind: type[c.Command]) -> None:
    run = at_b()
    for execution in ("a#1", "b#1", "nowhere"):
        run.refuses(UnknownExecutionError, kind, execution=execution, actor="ann", reason="try")


def test_a_decision_cannot_be_paused_for_the_failure_of_a_task_before_it() -> None:
    """An operator can retry a task; `do: pause` for anything else falls through to the definition's rule."""
    program = """
errorHandlers: [{errors: [NoTransitionError], do: pause}]
steps:
  - {id: a, type: task, action: http:shop/a, fallback: d}
  - {id: d, type: decision, next: [{condition: $.never == true, next: a}]}
"""
    run = Run(program).start().fail_for_good("a")
    assert (run.status, run.state.error and run.state.error.type) == ("failed", "NoTransitionError")


def test_a_scope_cannot_be_paused_for_the_failure_of_its_branch() -> None:
    program = """
errorHandlers: [{errors: ["*"], steps: [p], do: pause}]
steps: [{id: p, type: parallel, branches: {x: [{id: a, type: task, action: http:shop/a}]}}]
"""
    assert Run(program).start().fail_for_good("a").status == "failed"
