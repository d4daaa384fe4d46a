"""Causes that no definition leads to yet, or that only a fault leads to: told from a state alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain import commands as c
from domain.calls import StepError
from domain.events import StepStarted
from domain.happened import timed
from domain.state import Running, State
from domain.why import CODES, Cause, Facts, Lease, unreadable, why
from tests.domain.given import START, Run, define

ONE = "steps:\n  - {id: work, type: task, action: worker:w/work, timeout: 30s}\n"


def causes(run: Run, state: State, facts: Facts) -> list[Cause]:
    return why(state, timed(enumerate(run.log, start=1)), run.program, facts)


PARENT = "steps:\n  - {id: bill, type: workflow, definition: invoice}\n"


def test_a_child_that_runs_is_waited_for_and_so_is_its_undo() -> None:
    run = Run(define(PARENT)).start()
    child = run.last(StepStarted).token
    facts = Facts(at=START, since=START)
    (cause,) = causes(run, run.state, facts)
    assert (cause.code, cause.execution, cause.step) == ("child", "bill#1", "bill")
    assert cause.details == {"instanceId": child, "definition": "invoice", "do": "run"}
    assert [move.command for move in cause.moves] == [f"tenuto why {child}"]
    run.ask(c.CancelInstance, reason="enough")
    rollback, undo = sorted(causes(run, run.state, facts), key=lambda one: one.execution or "")
    assert (rollback.code, undo.code, undo.execution) == ("compensating", "child", "bill#1/undo")
    assert undo.message == f"it waits for its child {child} (invoice) to undo what it did"


@pytest.mark.parametrize(("standing", "retried"), [(["write#1"], False), ([], True)])
def test_a_child_that_left_effects_behind_is_not_said_to_be_retried(
    standing: list[str], *, retried: bool
) -> None:
    text = PARENT + 'errorHandlers: [{errors: ["*"], do: pause}]\n'
    run = Run(define(text)).start()
    details = {"standing": standing} if standing else None
    run.fail("bill", StepError(type="ChildFailedError", message="no", retryable=False, details=details))
    (cause,) = causes(run, run.state, Facts(at=START, since=START))
    assert cause.code == "stuck"
    acts = [move.command.split()[1] for move in cause.moves if move.command is not None]
    assert ("retry" in acts) is retried
    assert {"skip", "resolve", "fail"} <= set(acts)


def test_a_running_attempt_says_when_it_times_out() -> None:
    run = Run(define(ONE)).start()
    run.claim("work")
    open = run.state.open["work#1"]
    assert isinstance(open, Running)
    facts = Facts(at=START, since=START, leases={open.token: Lease(alive=False, last_sign_at=START)})
    (cause,) = causes(run, run.state, facts)
    assert cause.code == "lease-silent"
    assert [move.at for move in cause.moves] == [None, "2026-01-01T12:00:30.000000Z"]
    assert START + timedelta(seconds=30) == open.closes_at


def test_a_log_that_cannot_be_folded_says_where() -> None:
    cause = unreadable("0-1", "version 3: no such event")
    assert (cause.code, cause.moves[0].command) == ("unreadable", "tenuto verify 0-1")
    assert "version 3" in cause.message


def test_no_code_is_there_twice() -> None:
    assert len(set(CODES)) == len(CODES)
