"""Results that come too late: the three rules, and duplicates (S170; semantics, *Late results*)."""

from __future__ import annotations

from typing import Any

import pytest

from domain import commands as c
from domain.errors import StaleTokenError
from domain.events import AlertRaised, Compensated, ResultIgnored, StepScheduled
from tests.domain.given import Run, error, names

STEPS = """
onFailure: %s
timeout: 2h
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: ua, next: b}
  - {id: b, type: task, action: http:shop/b, compensateWith: ub, timeout: 30s}
  - {id: ua, type: task, action: http:shop/ua}
  - {id: ub, type: task, action: http:shop/ub, input: {n: $.undo.output.n, why: $.undo.reason}}
"""
LATE = {"output": {"n": 1}}


def at_b(on_failure: str = "compensate") -> tuple[Run, dict[str, Any]]:
    """`b` is under way; with it, the lease that will be late."""
    run = Run(STEPS % on_failure).start().complete("a")
    return run, run.claim("b")


def test_1_while_a_later_attempt_is_open_a_late_success_is_only_recorded() -> None:
    """S170: the second worker goes on, the first one's result is refused."""
    run, lease = at_b()
    run.time_out("b")
    assert run.ask(c.CompleteStep, **LATE, **lease) == [run.last(ResultIgnored)]
    ignored = run.last(ResultIgnored)
    assert (ignored.attempt, ignored.why, ignored.output) == (1, "late", {"n": 1})
    assert list(run.state.undo) == ["a#1"]
    assert run.complete("b", {"n": 2}).state.data["b"] == {"n": 2}


def test_2_when_the_execution_is_over_a_late_success_joins_the_list() -> None:
    """It is undone with the rest, first of all."""
    run, lease = at_b()
    run.ask(c.CancelInstance, actor="ann", reason="no")
    run.claim("ua")
    run.ask(c.CompleteStep, **LATE, **lease)
    assert run.last(ResultIgnored).why == "late"
    assert run.complete("ua").input == {"n": 1, "why": "no"}
    run.complete("ub")
    assert [event.undoes for event in run.all(Compensated)] == ["a#1", "b#1"]
    assert (run.status, run.state.outcome) == ("completed", "cancelled")


def test_2_also_while_the_instance_still_runs() -> None:
    program = """
steps:
  - id: p
    type: parallel
    join: any
    branches:
      x: [{id: a, type: task, action: http:shop/a, compensateWith: u}]
      y: [{id: b, type: task, action: http:shop/b}]
    next: after
  - {id: after, type: task, action: http:shop/after}
  - {id: u, type: task, action: http:shop/u, input: $.undo.output}
"""
    run = Run(program).start()
    lease = run.claim("a")
    run.complete("b").ask(c.CompleteStep, **LATE, **lease)
    assert (list(run.state.undo), run.handed_out) == (["p.a#1"], ["after"])
    assert run.fail_for_good("after").input == {"n": 1}


def test_2_during_a_partial_rollback_it_joins_the_list_but_not_that_rollback() -> None:
    program = """
errorHandlers: [{errors: ["*"], next: back}]
steps:
  - {id: a, type: task, action: http:shop/a, compensateWith: u, next: p}
  - id: p
    type: parallel
    branches:
      x: [{id: b, type: task, action: http:shop/b, compensateWith: u}]
      y: [{id: c, type: task, action: http:shop/c}]
  - {id: back, type: compensate, steps: [a], next: ask}
  - {id: ask, type: wait, for: 1h}
  - {id: u, type: task, action: http:shop/u, input: $.undo.step}
"""
    run = Run(program).start().complete("a")
    lease = run.claim("b")
    run.fail_for_good("c").ask(c.CompleteStep, **LATE, **lease)
    run.complete("u")
    assert (run.status, list(run.state.undo)) == ("waiting", ["p.b#1"])


def test_3_after_the_end_that_one_undo_is_still_owed_and_somebody_hears_of_it() -> None:
    run, lease = at_b()
    run.later("2h").time_out("@instance")
    assert (run.status, run.state.outcome, run.state.standing) == ("failed", "timed_out", ["a#1"])
    events = run.ask(c.CompleteStep, **LATE, **lease)
    assert names(events) == ["ResultIgnored", "AlertRaised", "StepScheduled"]
    assert run.last(ResultIgnored).why == "ended"
    assert (run.last(AlertRaised).alert_id, run.last(AlertRaised).step) == ("b#1/late", "b")
    assert run.input == {"n": 1, "why": "it succeeded after the instance had ended"}
    run.complete("ub")
    assert run.owed == {}
    assert (run.status, run.state.outcome, list(run.state.undo)) == ("failed", "timed_out", ["a#1"])


def test_3_after_a_rollback_that_has_ended() -> None:
    run, lease = at_b()
    run.ask(c.CancelInstance, actor="ann", reason="no")
    run.complete("ua")
    assert run.status == "completed"
    run.ask(c.CompleteStep, **LATE, **lease)
    assert run.handed_out == ["ub"]
    run.fail_for_good("ub")
    run.ask(c.RetryStep, execution="b#1/undo", actor="ann", reason="mended")
    run.complete("ub")
    assert (run.status, run.state.outcome, run.state.undo, run.owed) == ("completed", "cancelled", {}, {})


def test_3_a_late_undo_may_be_given_up() -> None:
    run, lease = at_b()
    run.ask(c.CancelInstance, actor="ann", reason="no")
    run.complete("ua").ask(c.CompleteStep, **LATE, **lease)
    run.fail_for_good("ub").ask(c.SkipStep, execution="b#1/undo", actor="ann", reason="hopeless")
    assert (run.status, run.owed) == ("completed", {})


def test_3_a_paused_instance_that_has_ended_still_hands_its_late_undo_out() -> None:
    run, lease = at_b()
    run.ask(c.PauseInstance, actor="ann", reason="a look")
    run.later("2h").time_out("@instance")
    run.ask(c.CompleteStep, **LATE, **lease)
    assert run.handed_out == ["ub"]


def test_a_late_failure_changes_nothing() -> None:
    run, lease = at_b()
    run.ask(c.CancelInstance, actor="ann", reason="no")
    run.ask(c.FailStep, error=error(), **lease)
    assert run.last(ResultIgnored).error == error()
    assert list(run.state.undo) == ["a#1"]


def test_a_late_success_of_a_step_without_undo_is_only_recorded() -> None:
    run = Run("timeout: 1h\nsteps: [{id: a, type: task, action: http:shop/a}]").start()
    lease = run.claim("a")
    run.time_out("@instance")
    assert names(run.ask(c.CompleteStep, **LATE, **lease)) == ["ResultIgnored"]


def test_a_result_said_twice_yields_nothing() -> None:
    """Also a failure, also after the end, and also one that was ignored."""
    run, lease = at_b()
    run.ask(c.FailStep, error=error(), **lease)
    assert run.ask(c.FailStep, error=error(), **lease) == []
    second = run.claim("b")
    run.time_out("b")
    run.ask(c.CompleteStep, **LATE, **second)
    assert run.ask(c.CompleteStep, **LATE, **second) == []
    third = run.claim("b")
    run.ask(c.CompleteStep, **LATE, **third)
    assert run.status == "completed"
    for said in (lease, second, third):
        assert run.ask(c.CompleteStep, **LATE, **said) == []


def test_an_undo_said_twice_yields_nothing() -> None:
    run, _ = at_b()
    run.fail_for_good("b")
    lease = run.claim("ua")
    run.ask(c.CompleteStep, output={}, **lease)
    assert run.ask(c.CompleteStep, output={}, **lease) == []


def test_another_token_for_the_attempt_under_way_is_stale() -> None:
    run, lease = at_b()
    run.ask(c.CompleteStep, **LATE, **{**lease, "token": "of another session"})
    assert run.last(ResultIgnored).why == "stale"
    assert run.complete("b").status == "completed"


def test_an_attempt_that_was_never_handed_out_is_refused() -> None:
    run, lease = at_b()
    run.fail("b")
    run.refuses(StaleTokenError, c.CompleteStep, **LATE, **{**lease, "attempt": 2})
    run.refuses(StaleTokenError, c.CompleteStep, **LATE, **{**lease, "attempt": 3})


@pytest.mark.parametrize("on_failure", ["compensate", "fail"])
def test_an_instance_that_ended_does_not_begin_again(on_failure: str) -> None:
    run, lease = at_b(on_failure)
    run.time_out("b")
    run.fail_for_good("b").serve()
    before = (run.status, run.state.outcome)
    run.ask(c.CompleteStep, **LATE, **lease)
    assert (run.status, run.state.outcome) == before
    assert run.last(StepScheduled).execution == "b#1/undo"


def test_a_late_success_of_an_execution_that_then_fails_for_good_is_undone() -> None:
    """Its effect happened while a later attempt was open; that one failing does not make it unhappen."""
    run, lease = at_b()
    run.time_out("b")
    run.ask(c.CompleteStep, **LATE, **lease)
    assert list(run.state.undo) == ["a#1"]
    assert run.fail_for_good("b").input == {"n": 1, "why": "boom"}
    run.complete("ub").complete("ua")
    assert [event.undoes for event in run.all(Compensated)] == ["b#1", "a#1"]


def test_a_late_success_of_an_execution_that_is_cancelled_is_undone() -> None:
    run, lease = at_b()
    run.time_out("b")
    run.ask(c.CompleteStep, **LATE, **lease)
    run.ask(c.CancelInstance, actor="ann", reason="no")
    run.complete("ub").complete("ua")
    assert [event.undoes for event in run.all(Compensated)] == ["b#1", "a#1"]
    assert (run.status, run.state.outcome) == ("completed", "cancelled")


def test_a_late_success_counts_once_when_a_later_attempt_succeeds_too() -> None:
    run, lease = at_b()
    run.time_out("b")
    run.ask(c.CompleteStep, **LATE, **lease)
    run.complete("b", {"n": 2})
    assert run.state.undo["b#1"].output == {"n": 2}
    assert list(run.state.undo) == ["a#1", "b#1"]
