"""Causes that no definition leads to yet, or that only a fault leads to: told from a state alone."""

from __future__ import annotations

from datetime import timedelta

from domain.happened import timed
from domain.state import Queued, Running, State
from domain.why import CODES, Cause, Facts, Lease, unreadable, why
from tests.domain.given import START, Run, define

ONE = "steps:\n  - {id: work, type: task, action: worker:w/work, timeout: 30s}\n"


def causes(run: Run, state: State, facts: Facts) -> list[Cause]:
    return why(state, timed(enumerate(run.log, start=1)), run.program, facts)


def test_a_child_is_waited_for_whether_it_has_been_claimed_or_not() -> None:
    run = Run(define(ONE)).start()
    facts = Facts(at=START, since=START)
    for claimed in (False, True):
        if claimed:
            run.claim("work")
        open = run.state.open["work#1"]
        assert isinstance(open, Running if claimed else Queued)
        open.work.action = "workflow:shipping"
        (cause,) = causes(run, run.state, facts)
        assert (cause.code, cause.details) == ("child", {"definition": "shipping"})


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
