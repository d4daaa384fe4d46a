"""What a run on another definition is said to do otherwise: which way each of the two goes, and what decided it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain import commands as c
from domain.calls import StepError
from domain.errors import CorruptHistoryError
from domain.events import StatusChanged
from domain.whatif import Missing, Verdict, what_if
from tests.domain.given import START, Run, define
from tests.domain.test_whatif import ASKS, DECIDES, SAGA, judged, wording

FORKS = """
steps:
  - id: all
    type: parallel
    branches:
      one: [{id: a, type: task, action: worker:w/a}]
      two: [{id: b, type: task, action: worker:w/b}]
"""
NOTED = "signals: {note: {set: {n: $.signal.payload}}}\n" + SAGA
NAPS = """
steps:
  - {id: nap, type: wait, for: 1m, next: work}
  - {id: work, type: task, action: worker:w/work}
"""


def ways(verdict: Verdict) -> tuple[str | None, ...]:
    assert verdict.went == "diverged"
    return verdict.recorded, verdict.now, verdict.why


def refused_shipping(times: int = 1) -> Run:
    """It is undone after an error of this type, or after so many attempts that may be tried again."""
    run = Run(define(SAGA)).start().complete("charge")
    for _ in range(times):
        run.fail("ship", StepError(type="CardError", message="no", retryable=times > 1))
    return run.serve()


def test_another_number_of_branches_is_another_way() -> None:
    more = FORKS + "      three: [{id: x, type: task, action: worker:w/x}]\n"
    verdict = judged(Run(define(FORKS)).start().serve(), FORKS, more)
    assert verdict == Verdict(
        went="diverged",
        recorded_end="succeeded",
        version=1,
        step="all",
        execution="all#1",
        recorded="all#1 opens 2 blocks",
        now="all#1 opens 3 blocks",
        why="this is what follows after the start in the new definition",
        missing=[Missing(execution="all.x#1", action="worker:w/x", attempt=1)],
    )


def test_a_timer_of_the_new_definition_is_named_as_the_reason() -> None:
    run = Run(define(ASKS)).start().later("30m").signal("answer", {"yes": True}).serve()
    assert ways(judged(run, ASKS, ASKS.replace("for: 1h", "for: 10m"))) == (
        "ask#1 has waited, ended by signal",
        "ask#1 has waited, ended by timer",
        "this is what follows after FireTimer of ask#1 in the new definition",
    )


def test_a_signal_that_the_new_definition_refuses_or_takes_otherwise() -> None:
    run = Run(define(NOTED)).start().signal("note", {"a": 1}, id="the first of two").serve()
    verdict = judged(run, NOTED, SAGA)
    assert ways(verdict) == (
        "signal note is taken",
        None,
        (
            "the new definition refuses the signal note: Definition 'test' declares no signal 'note'"
            " and no step waits for it."
        ),
    )
    assert (verdict.execution, verdict.step, verdict.ends) == ("@instance", None, "succeeded")
    assert ways(judged(run, NOTED, NOTED.replace("{set:", "{do: cancel, set:"))) == (
        "ship#1 is handed out (worker:w/ship)",
        "a rollback of nothing begins",
        "this is what follows after the signal note in the new definition",
    )


def test_a_rollback_that_does_not_come_or_comes_earlier_or_later() -> None:
    assert ways(judged(refused_shipping(), SAGA, "onFailure: fail\n" + SAGA)) == (
        "a rollback of charge#1 begins",
        "the instance ends as failed failed",
        "this is what follows after ship#1 failed with CardError in the new definition",
    )
    run = Run(define(SAGA)).start().complete("charge").fail("ship").complete("ship")
    assert ways(judged(run, SAGA, SAGA.replace("maxAttempts: 2", "maxAttempts: 1"))) == (
        "ship#1 is tried again, attempt 2 (worker:w/ship)",
        "a rollback of charge#1 begins",
        "this is what follows after ship#1 failed with BoomError in the new definition",
    )
    later = judged(refused_shipping(times=2), SAGA, SAGA.replace("maxAttempts: 2", "maxAttempts: 3"))
    assert later == Verdict(
        went="needsResult",
        recorded_end="compensated",
        version=11,
        step="ship",
        execution="ship#1",
        recorded="a rollback of charge#1 begins",
        now="ship#1 is tried again, attempt 3 (worker:w/ship)",
        why="ship#1 is tried again, attempt 3 (worker:w/ship) after ship#1 failed with CardError,"
        " and no result of it was ever recorded",
        missing=[Missing(execution="ship#1", action="worker:w/ship", attempt=3)],
    )


def test_a_wait_for_something_else_is_told_by_what_it_waits_for() -> None:
    run = Run(define(NAPS)).start()
    run.time_out("nap")
    run.serve()
    verdict = judged(run, NAPS, NAPS.replace("for: 1m", "signal: go"))
    assert verdict == Verdict(
        went="needsResult",
        recorded_end="succeeded",
        version=1,
        step="nap",
        execution="nap#1",
        recorded="nap#1 waits for time",
        now="nap#1 waits for go",
        why="nap#1 waits for go after the start, and no result of it was ever recorded",
        missing=[Missing(execution="nap#1", signal="go")],
    )
    assert judged(run, NAPS, NAPS.replace("for: 1m", "for: 2m"), later=timedelta(hours=1)) == Verdict(
        went="same", ends="succeeded", recorded_end="succeeded"
    )


def test_conditions_that_do_not_hold_are_told_with_what_is_absent() -> None:
    was = """
steps:
  - {id: a, type: task, action: worker:w/a, next: [{condition: "$.input.n == 1", next: b}, {next: b}]}
  - {id: b, type: task, action: worker:w/b}
  - {id: c, type: succeed}
"""
    run = Run(define(was)).start({"n": 1}).serve()
    other = '"$.input.n == 2", next: b}, {condition: "$.input.long == 1", next: b}, {next: c}'
    assert ways(judged(run, was, was.replace('"$.input.n == 1", next: b}, {next: b}', other))) == (
        "a#1 goes on to b",
        "a#1 goes on to c",
        (
            "`$.input.n == 2` and `$.input.long == 1` do not hold ($.input.n = 1, $.input.long = absent);"
            " recorded: `$.input.n == 1` held"
        ),
    )
    one = '"$.input.n == 2", next: b}, {next: c}'
    assert ways(judged(run, was, was.replace('"$.input.n == 1", next: b}, {next: b}', one)))[2] == (
        "`$.input.n == 2` does not hold ($.input.n = 1); recorded: `$.input.n == 1` held"
    )
    none = was.replace('[{condition: "$.input.n == 1", next: b}, {next: b}]', "[{next: c}]")
    assert ways(judged(run, was, none))[2] == "by default; recorded: `$.input.n == 1` held"
    back = Run(define(none)).start({"n": 1}).complete("a")
    assert ways(judged(back, none, was)) == (
        "a#1 goes on to c",
        "a#1 goes on to b",
        "`$.input.n == 1` holds ($.input.n = 1); recorded: the default",
    )


def test_a_long_value_is_quoted_in_part() -> None:
    text = DECIDES.replace('"$.price.amount > 1000"', "\"$.price.name == 'x'\"")
    run = Run(define(text)).start().serve({"price": {"name": "n" * 100}})
    why = ways(judged(run, text, text.replace("== 'x'", "!= 'x'")))[2]
    assert why is not None
    assert f'($.price.name = "{"n" * 79}…);' in why


def test_a_failure_that_came_too_late_counts_where_it_is_in_time() -> None:
    was = """
errorHandlers: [{errors: [CardError], next: post}]
steps:
  - {id: work, type: task, action: worker:w/work, timeout: 10s, retryPolicy: {maxAttempts: 1}}
  - {id: post, type: task, action: worker:w/post}
"""
    run = Run(define(was)).start()
    lease = run.claim("work")
    run.time_out("work")
    run.later("5s").ask(c.FailStep, **lease, error=StepError(type="CardError", message="no", retryable=False))
    verdict = judged(run, was, was.replace("timeout: 10s", "timeout: 20s"))
    assert (verdict.went, verdict.step, verdict.recorded) == (
        "needsResult",
        "post",
        "the instance ends as failed failed",
    )
    assert verdict.why == (
        "post#1 is handed out (worker:w/post) after ResultIgnored of work#1,"
        " and no result of it was ever recorded"
    )


IN_TURN = """
steps:
  - {id: a, type: task, action: worker:w/a, next: b}
  - {id: b, type: task, action: worker:w/b, retryPolicy: {maxAttempts: 2, initialInterval: 1s}}
"""
TURNED = """
steps:
  - {id: b, type: task, action: worker:w/b, retryPolicy: {maxAttempts: 2, initialInterval: 1s}, next: a}
  - {id: a, type: task, action: worker:w/a}
"""


def turned(goes: str, was: str, *, first: bool) -> Run:
    """`b` comes before `a`, or after it; `goes` is what becomes of it."""
    run = Run(define(was)).start()
    if not first:
        run.complete("a")
    run.later("1m").claim("b")
    run.later("1m")
    match goes:
        case "is lost":
            run.lose("b").later("1m").complete("b")
        case "fails":
            run.fail("b").later("1m").complete("b")
        case "is refused":
            run.fail("b", StepError(type="CardError", message="no", retryable=False))
        case _:
            run.complete("b")
    return run.later("1m").serve()


BECOMES = [
    ("completes", "succeeded"),
    ("is lost", "succeeded"),
    ("fails", "succeeded"),
    ("is refused", "failed"),
]


@pytest.mark.parametrize(("goes", "ends"), BECOMES)
def test_what_became_of_an_attempt_is_served_where_it_is_made_earlier(goes: str, ends: str) -> None:
    verdict = judged(turned(goes, IN_TURN, first=False), IN_TURN, TURNED, later=timedelta(hours=1))
    assert verdict == Verdict(
        went="diverged",
        ends=ends,
        recorded_end=ends,
        version=1,
        step="b",
        execution="b#1",
        recorded="a#1 is handed out (worker:w/a)",
        now="b#1 is handed out (worker:w/b)",
        why="this is what follows after the start in the new definition",
    )


@pytest.mark.parametrize(("goes", "ends"), BECOMES)
def test_what_became_of_an_attempt_is_served_where_it_is_made_later(goes: str, ends: str) -> None:
    run = turned(goes, TURNED, first=True)
    verdict = judged(run, TURNED, IN_TURN, later=timedelta(hours=1))
    unasked = goes == "is refused"
    assert (verdict.went, verdict.ends, verdict.recorded_end) == (
        "needsResult" if unasked else "diverged",
        None if unasked else ends,
        ends,
    )
    assert verdict.missing == ([Missing(execution="a#1", action="worker:w/a", attempt=1)] if unasked else [])


def test_what_was_refused_is_refused_where_it_is_made_later() -> None:
    waits = "steps:\n  - {id: nap, type: wait, for: 10m, next: b}\n" + TURNED.removeprefix("\nsteps:\n")
    run = turned("is refused", TURNED, first=True)
    verdict = judged(run, TURNED, waits, later=timedelta(hours=1))
    assert (verdict.went, verdict.ends, verdict.recorded_end) == ("diverged", "failed", "failed")
    assert (verdict.missing, verdict.now) == ([], "nap#1 waits for time")


def test_a_history_that_begins_with_a_consequence_is_refused_at_its_version() -> None:
    consequence = StatusChanged(from_status="pending", to="running", reason="started")
    with pytest.raises(CorruptHistoryError) as refused:
        what_if([consequence], wording(SAGA), wording(SAGA), START)
    assert refused.value.details == {
        "instance_id": "?",
        "version": 1,
        "problem": "it begins with StatusChanged, which is a consequence",
    }
