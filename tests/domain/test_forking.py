"""Forks: where one can begin, what it inherits, under which keys, and when it would stand on sand."""

from __future__ import annotations

from typing import Any

import pytest

from domain import commands as c
from domain import forking
from domain.errors import ForkRefusedError, LimitExceededError, SchemaMismatchError, UnknownExecutionError
from domain.events import DataChanged, Event, Parent, StepScheduled, StepStarted
from domain.moves import Forked, Origin
from domain.owed import Invoke
from domain.state import Attempted
from tests.domain.given import ID, Run, at, define, names
from tests.domain.laws import check_log

ORDER = """
timeout: 1h
steps:
  - {id: charge, type: task, action: worker:w/charge, compensateWith: refund, next: ship}
  - {id: ship, type: task, action: worker:w/ship, input: {to: {$coalesce: [$.city, $.input.city]}}, next: tell,
     retryPolicy: {maxAttempts: 1}}
  - {id: tell, type: wait, signal: answer, for: 10m, onTimeout: done, next: done}
  - {id: done, type: succeed, result: $.ship}
  - {id: refund, type: task, action: worker:w/refund}
"""
NEW = "0-fork"
WHO: dict[str, Any] = {"actor": "ann", "reason": "once more"}


def started(top: str = "") -> Run:
    return Run(define(top + ORDER)).start({"city": "Bonn"})


def failed() -> Run:
    """It has ended, and what it did stands."""
    return started("onFailure: fail\n").complete("charge").fail("ship")


def fork(run: Run, version: int | None = None, execution: str | None = None, **fields: Any) -> Run:
    """Another run, which goes on from there; it shares the clock's time, not the history."""
    point = (
        forking.point_at(run.log, version)
        if version is not None
        else forking.point_of(run.log, execution or forking.failing_execution(run.log, ID), ID)
    )
    other = Run(run.program)
    other.state, other.log = forking.copied(run.log, point, ID, NEW), run.log[:point]
    other.now = run.now
    other.ask(c.ForkInstance, origin=Origin(ID, point), **WHO, **fields)
    return other


def keys(run: Run) -> dict[str, str]:
    """Execution → the instance under whose key services know it."""
    return {
        name: open.work.owner or run.state.id
        for name, open in run.state.open.items()
        if isinstance(open, Attempted)
    }


# What it inherits ---------------------------------------------------------------------


def test_a_fork_is_copies_then_one_event_with_actor_and_reason_then_its_own() -> None:
    run = failed()
    before = list(run.log)
    other = fork(run)
    assert run.log == before, "the old history stays whole"
    (forked,) = other.all(Forked)
    assert other.log[: forked.origin.version] == before[: forked.origin.version]
    assert (forked.origin.instance_id, forked.actor, forked.reason) == (ID, "ann", "once more")
    assert (other.state.id, other.state.origin) == (NEW, forked.origin)
    assert (other.status, other.handed_out) == ("running", ["ship"])
    other.complete("ship", "T1").signal("answer")
    assert (other.status, other.state.result) == ("completed", "T1")
    check_log(other.log, other.state, {"1": run.program})


def test_what_it_inherited_keeps_its_originals_key_and_what_comes_later_is_its_own() -> None:
    other = fork(failed())
    assert keys(other) == {"ship#1": ID}
    other.complete("ship").ask(c.CancelInstance, **WHO)
    assert keys(other) == {"charge#1/undo": ID}
    again = fork(started(), version=3)
    again.complete("charge")
    assert keys(again) == {"ship#1": NEW}
    again.ask(c.CancelInstance, **WHO)
    assert keys(again) == {"charge#1/undo": ID}, "charge was scheduled before the point, so its effect is one"


def test_a_fork_of_a_fork_keeps_the_first_ones_keys() -> None:
    first = fork(failed())
    point = len(first.log)
    second = Run(first.program)
    second.now, second.log = first.now, list(first.log)
    second.state = forking.copied(first.log, point, NEW, "0-third")
    second.ask(c.ForkInstance, origin=Origin(NEW, point), **WHO)
    assert keys(second) == {"ship#1": ID}


def test_what_ran_there_is_scheduled_anew_and_its_old_lease_is_worth_nothing() -> None:
    run = started()
    lease = run.claim("charge")
    other = fork(run, version=len(run.log))
    effect = other.owed["charge#1"]
    assert isinstance(effect, Invoke)
    assert effect.attempt == 2
    assert run.log[-1] == run.last(StepStarted), "the original goes on as it was"
    assert names(other.ask(c.CompleteStep, output={}, **lease)) == ["ResultIgnored"]
    assert other.handed_out == ["charge"]


def test_what_was_queued_stays_queued() -> None:
    other = fork(started(), version=3)
    assert names(other.log[-1:]) == ["Forked"]
    assert other.handed_out == ["charge"]


def test_time_goes_on_from_where_it_was() -> None:
    """So an old instance's limits are not over before its fork begins."""
    run = started().complete("charge").complete("ship").later("30m")
    run.time_out("tell")
    assert run.state.ended
    other = fork(run, execution="ship#1")
    assert other.all(Forked)[0].delay_ms == 30 * 60_000
    assert (other.state.timeout_at, other.state.created_at) == (at("90m"), at("30m"))
    other.complete("ship")
    assert other.owed["tell#1"].timer_at == at("40m")
    waiting = fork(started().complete("charge").complete("ship").later("7m"), version=99)
    assert waiting.owed["tell#1"].timer_at == at("17m")


def test_deadlines_are_put_off_too() -> None:
    due = "deadlines: {soon: {after: start, within: 20m, reach: {step: ship}, escalate: [50]}}\n"
    run = started(due).later("2h")
    other = fork(run, version=99)
    assert other.owed["@deadline/soon"].timer_at == at("2h") + (at("10m") - at())


def test_a_fork_is_nobodys_child() -> None:
    parent = Parent(instance_id="0-p", execution="x#1")
    run = Run(define(ORDER)).start({}, parent=parent)
    assert run.state.parent == parent
    assert fork(run, version=99).state.parent is None


# What is different ----------------------------------------------------------------------


def test_other_data_are_read_by_the_step_that_is_tried_again() -> None:
    other = fork(failed(), data={"city": "Rome"})
    assert other.input == {"to": "Rome"}
    assert other.all(DataChanged) == []
    assert keys(other) == {"ship#1": ID}


def test_another_input_is_checked_by_the_schema() -> None:
    assert fork(failed(), input={"city": "Rome"}).input == {"to": "Rome"}
    schema = "inputSchema: {required: [city]}\n"
    run = started(schema)
    with pytest.raises(SchemaMismatchError, match="city"):
        fork(run, version=99, input={})
    with pytest.raises(SchemaMismatchError, match="reserved"):
        fork(run, version=99, data={"now": 1})


# Where ------------------------------------------------------------------------------------


def test_a_point_is_where_the_events_of_a_command_end() -> None:
    """Everything else is a state on which nothing was ever decided: it is rounded down."""
    run = failed()
    points = [version for version in range(1, len(run.log)) if run.log[version].at is not None]
    for version in range(1, len(run.log)):
        expected = max([point for point in points if point <= version], default=0)
        assert forking.point_at(run.log, version) == expected
    assert forking.point_at(run.log, 10**6) == len(run.log)


def test_from_a_step_is_right_after_it_was_first_scheduled() -> None:
    run = failed()
    point = forking.point_of(run.log, "ship#1", ID)
    assert names(run.log[point - 2 : point + 1]) == ["StepCompleted", "StepScheduled", "StepStarted"]
    with pytest.raises(UnknownExecutionError, match="never been scheduled"):
        forking.point_of(run.log, "ship#2", ID)


def test_from_a_wait_is_while_it_waits_so_that_it_can_be_answered_otherwise() -> None:
    run = started().complete("charge").complete("ship").signal("answer", "no")
    assert run.state.ended
    again = fork(run, execution="tell#1").signal("answer", "yes")
    assert (again.state.outcome, again.state.data["tell"]) == ("succeeded", "yes")
    check_log(again.log, again.state, {"1": run.program})


def test_a_retry_is_from_the_step_that_failed_last_for_good() -> None:
    assert forking.failing_execution(failed().log, ID) == "ship#1"
    stuck = (
        started("onFailure: fail\nerrorHandlers: [{errors: ['*'], do: pause}]\n")
        .complete("charge")
        .fail("ship")
    )
    stuck.ask(c.FailStuckStep, execution="ship#1", **WHO)
    assert forking.failing_execution(stuck.log, ID) == "ship#1"
    cancelled = started()
    cancelled.ask(c.CancelInstance, **WHO)
    with pytest.raises(ForkRefusedError, match="no step of it has failed for good"):
        forking.failing_execution(cancelled.log, ID)


def refusal(log: list[Event], version: int) -> str:
    with pytest.raises(ForkRefusedError) as refused:
        forking.copied(log, forking.point_at(log, version), ID, NEW)
    return str(refused.value)


def test_nothing_goes_on_from_an_end_or_from_the_middle_of_a_rollback() -> None:
    run = started().complete("charge").fail("ship")
    assert "it was undoing what it had done" in refusal(run.log, len(run.log))
    run.complete("refund")
    assert "it had ended as completed by then" in refusal(run.log, len(run.log))
    assert "nothing had happened yet" in refusal(run.log, 1)


def test_what_has_been_undone_since_is_no_ground_to_go_on_from() -> None:
    """The charge has been refunded: a fork behind it would ship what nobody has paid for. The hint leads before it."""
    run = started().later("1s")
    run.ask(c.ChangeData, data={"x": 1}, **WHO)
    run.complete("charge").fail("ship").complete("refund")
    point = forking.point_of(run.log, "ship#1", ID)
    assert refusal(run.log, point).endswith(
        "charge#1 had been done by then and has been undone since; start a new instance instead."
    )
    assert fork(run, version=4).handed_out == ["charge"]


def test_the_hint_names_a_version_before_what_was_undone() -> None:
    text = """
steps:
  - {id: look, type: task, action: worker:w/look, next: charge}
  - {id: charge, type: task, action: worker:w/charge, compensateWith: refund, next: ship}
  - {id: ship, type: task, action: worker:w/ship, retryPolicy: {maxAttempts: 1}}
  - {id: refund, type: task, action: worker:w/refund}
"""
    run = Run(define(text)).start().complete("look").complete("charge").fail("ship").complete("refund")
    said = refusal(run.log, forking.point_of(run.log, "ship#1", ID))
    version = int(said.partition("; version ")[2].split()[0])
    other = fork(run, version=version)
    other.complete("look")
    assert keys(other) == {"charge#1": NEW}, "it is charged once more, under a key of its own"


def test_a_fork_asked_for_again_yields_nothing() -> None:
    other = fork(failed())
    assert other.ask(c.ForkInstance, origin=other.all(Forked)[0].origin, **WHO) == []


def test_a_history_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "MAX_COPIED", 3)
    run = started().complete("charge")
    assert run.all(StepScheduled)
    with pytest.raises(LimitExceededError, match="the number of events to copy is 6"):
        forking.copied(run.log, 6, ID, NEW)
