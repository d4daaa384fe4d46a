"""Why an instance is not moving: every cause in full, told from a state, its log and what the engine knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from domain import commands as c
from domain.calls import StepError
from domain.events import Json, StepStarted
from domain.happened import timed
from domain.state import Running
from domain.why import CODES, SILENCE, Cause, Facts, Lease, Move, Queue, unreadable, why
from tests.domain.given import ID, START, Run, at, error

ONE = "steps:\n  - {id: work, type: task, action: worker:w/work, timeout: 30s}\n"
PARENT = "steps:\n  - {id: bill, type: workflow, definition: invoice}\n"
STUCK = """
steps:
  - {id: book, type: task, action: worker:w/book, compensateWith: unbook, next: pay}
  - {id: pay, type: task, action: worker:w/pay, retryPolicy: {maxAttempts: 1}, onMaxRetriesExceeded: pause}
  - {id: unbook, type: task, action: worker:w/unbook, retryPolicy: {maxAttempts: 1}}
"""
BOOKED = """
steps:
  - {id: book, type: task, action: worker:w/book, compensateWith: unbook, next: pay}
  - {id: pay, type: task, action: worker:w/pay, compensateWith: unpay, next: ask}
  - {id: ask, type: wait, signal: go}
  - {id: unbook, type: task, action: worker:w/unbook}
  - {id: unpay, type: task, action: worker:w/unpay}
"""
RETRIES = """
steps:
  - {id: work, type: task, action: worker:w/work, retryPolicy: {maxAttempts: 3, initialInterval: 1m},
     onMaxRetriesExceeded: pause}
"""
NOON = "2026-01-01T12:00:00.000000Z"


def minute(number: int, second: int = 0) -> str:
    return f"2026-01-01T12:{number:02}:{second:02}.000000Z"


def causes(run: Run, now: datetime | None = None, **known: Any) -> list[Cause]:
    """`known` are the fields of Facts; the server began when the run did."""
    facts = Facts(**{"at": now or run.now, "since": START} | known)
    return why(run.state, timed(enumerate(run.log, start=1)), run.program, facts)


def cause(run: Run, now: datetime | None = None, **known: Any) -> Cause:
    (found,) = causes(run, now, **known)
    return found


def act(what: str, command: str) -> Move:
    return Move(what=what, command=f"tenuto {command} --reason 'why'")


# The whole instance -------------------------------------------------------------------


def test_a_log_that_cannot_be_folded_says_where() -> None:
    assert unreadable(ID, "version 3: no such event") == Cause(
        code="unreadable",
        message="its log cannot be folded: version 3: no such event",
        moves=[Move(what="compare the log with a backup", command=f"tenuto verify {ID}")],
    )


def test_no_code_is_there_twice() -> None:
    assert len(set(CODES)) == len(CODES)


@pytest.mark.parametrize(("when", "since"), [(at("5m"), minute(5)), (None, None)])
def test_a_fault_inside_comes_first_and_says_what_to_do(when: datetime | None, since: str | None) -> None:
    run = Run(ONE).start()
    first, second = causes(run, incident="division by zero", incident_at=when)
    assert first == Cause(
        code="incident",
        message="the last command for it could not be decided, because of a fault inside Tenuto: division by zero",
        since=since,
        moves=[Move(what="read the server's log, and report the fault", command=f"tenuto events {ID}")],
    )
    assert second.code == "no-worker"


def paused(seconds: int, actor: str, reason: str) -> Cause:
    return Cause(
        code="paused",
        message=f"paused by {actor} since {minute(0, seconds)}: {reason};"
        " nothing new is handed out, timers run on",
        since=minute(0, seconds),
        details={"actor": actor, "reason": reason},
        moves=[act("let it go on", f"resume {ID}")],
    )


def test_a_pause_names_who_when_and_why_and_is_the_cause_of_what_is_queued() -> None:
    run = Run(ONE).start().later("7s")
    run.ask(c.PauseInstance, actor="ann", reason="carrier is down")
    assert causes(run.later("5s")) == [paused(7, "ann", "carrier is down")]


def test_the_last_pause_is_the_one_that_counts() -> None:
    run = Run(ONE).start()
    run.ask(c.PauseInstance, actor="ann", reason="carrier is down")
    run.ask(c.ResumeInstance, actor="ann", reason="it is up")
    run.later("9s").ask(c.PauseInstance, actor="bob", reason="down again")
    assert causes(run) == [paused(9, "bob", "down again")]


def test_a_pause_of_nobody_for_nothing_is_told_as_such() -> None:
    run = Run(ONE).start()
    run.ask(c.PauseInstance)
    assert causes(run) == [paused(0, "somebody", "no reason given")]


def test_what_runs_while_it_is_paused_is_still_told() -> None:
    run = Run(ONE).start()
    run.claim("work")
    run.ask(c.PauseInstance, actor="ann", reason="wait")
    assert [one.code for one in causes(run)] == ["paused", "running"]


def test_one_that_is_to_start_later_says_when() -> None:
    run = Run(ONE).start(start_at=at("1h"))
    assert cause(run.later("2m")) == Cause(
        code="scheduled",
        message="it is to start at 2026-01-01T13:00:00.000000Z",
        since=NOON,
        details={"startAt": "2026-01-01T13:00:00.000000Z"},
        moves=[Move(what="it starts by itself", at="2026-01-01T13:00:00.000000Z")],
    )


def test_one_that_has_ended_well_says_so_and_nothing_moves_it() -> None:
    run = Run(ONE).start().later("3s").complete("work")
    assert cause(run.later("1m")) == Cause(
        code="ended",
        message="it has ended: completed, succeeded (all steps are done)",
        since=minute(0, 3),
        details={"status": "completed", "outcome": "succeeded", "reason": "all steps are done"},
    )


def test_one_that_was_ended_by_a_person_says_why_and_what_was_not_undone() -> None:
    run = Run(BOOKED).start().complete("book").complete("pay").later("1m")
    run.ask(c.TerminateInstance, actor="ann", reason="wrong tenant")
    assert cause(run) == Cause(
        code="ended",
        message="it has ended: failed, terminated (wrong tenant); not undone: book#1, pay#1",
        since=minute(1),
        details={"status": "failed", "outcome": "terminated", "reason": "wrong tenant"},
    )


def test_one_that_was_paused_when_it_ended_has_only_ended() -> None:
    run = Run(ONE).start()
    run.ask(c.PauseInstance, actor="ann", reason="wait")
    run.ask(c.TerminateInstance, actor="ann", reason="enough")
    assert [one.code for one in causes(run)] == ["ended"]


def test_a_rollback_says_what_is_undone_and_what_is_left() -> None:
    run = Run(BOOKED).start().complete("book").complete("pay").later("1m")
    run.ask(c.CancelInstance, actor="ann", reason="changed her mind")
    run.later("1m").complete("unpay")
    queued, rollback = causes(run)
    assert (queued.code, queued.execution, queued.step) == ("no-worker", "book#1/undo", "unbook")
    assert rollback == Cause(
        code="compensating",
        message="it is being rolled back (changed her mind): 1 undone, 1 to go",
        since=minute(1),
        details={
            "trigger": "cancel",
            "reason": "changed her mind",
            "undone": ["pay#1"],
            "pending": ["book#1"],
        },
        moves=[Move(what="see what is still to be undone", command=f"tenuto undo-plan {ID}")],
    )


# What is queued -----------------------------------------------------------------------


def test_a_queue_that_nobody_ever_polled_says_since_when_and_how_to_start_a_worker() -> None:
    run = Run(ONE).start().later("1m")
    known = {"w": Queue(ready=4)}
    assert cause(run, since=at("20s"), queues=known) == Cause(
        code="no-worker",
        message="no worker polls queue w since 2026-01-01T12:00:20.000000Z"
        " (nor at any time since this server began at 2026-01-01T12:00:20.000000Z)",
        since=minute(0, 20),
        execution="work#1",
        step="work",
        details={"queue": "w", "polledAt": None, "ready": 4},
        moves=[Move(what="start a worker", command="tenuto worker MODULE --queue w")],
    )


def test_nobody_is_missed_before_the_task_was_due() -> None:
    run = Run(ONE).start(start_at=at("1m")).later("1m")
    run.fire("@instance")
    assert cause(run.later("1m")).since == minute(1)


def test_a_queue_that_was_left_says_when_it_was_last_polled() -> None:
    run = Run(ONE).start()
    found = cause(run, at("5m"), queues={"w": Queue(polled_at=at("2m"), ready=1)})
    assert found == Cause(
        code="no-worker",
        message="no worker polls queue w since 2026-01-01T12:02:00.000000Z",
        since=minute(2),
        execution="work#1",
        step="work",
        details={"queue": "w", "polledAt": minute(2), "ready": 1},
        moves=[Move(what="start a worker", command="tenuto worker MODULE --queue w")],
    )


def test_a_worker_that_polled_a_moment_ago_may_come_back() -> None:
    run = Run(ONE).start()

    def code(after: timedelta, waiting: int = 0) -> str:
        return cause(run, START + after, queues={"w": Queue(polled_at=START, waiting=waiting)}).code

    moment = timedelta(microseconds=1)
    assert (code(SILENCE), code(SILENCE + moment)) == ("queue-busy", "no-worker")
    assert code(SILENCE + moment, waiting=1) == "queue-busy"


def test_a_task_that_waits_for_a_worker_to_come_free_says_among_how_many() -> None:
    run = Run(ONE).start().later("1s")
    assert cause(run, queues={"w": Queue(waiting=2, polled_at=START, ready=7)}) == Cause(
        code="queue-busy",
        message="it is one of 7 in queue w that wait for a worker to come free",
        since=NOON,
        execution="work#1",
        step="work",
        details={"queue": "w", "ready": 7, "waitingWorkers": 2},
        moves=[Move(what="a worker takes it; more workers take it sooner")],
    )


def test_a_service_that_the_server_was_not_told_of_needs_its_url() -> None:
    run = Run("steps:\n  - {id: pay, type: task, action: http:payments/charge}\n").start()
    found = cause(run)
    assert (found.code, found.step, found.details["queue"]) == ("no-worker", "pay", "http:payments")
    assert found.moves == [Move(what="name the URL of http:payments when the server starts")]


@pytest.mark.parametrize(
    ("limits", "gives_up"),
    [
        ("scheduleToStart: 10m", minute(10)),
        ("scheduleToClose: 20m", minute(20)),
        ("scheduleToStart: 10m, scheduleToClose: 20m", minute(10)),
    ],
)
def test_what_waits_for_a_worker_says_when_it_gives_up(limits: str, gives_up: str) -> None:
    run = Run(ONE.replace("timeout: 30s", limits)).start()
    assert cause(run).moves[1:] == [Move(what="it times out", at=gives_up)]


def test_a_retry_says_which_of_how_many_when_and_after_what() -> None:
    run = Run(RETRIES).start().later("5s").fail("work", error("BankError", "no money"))
    assert cause(run.later("1s")) == Cause(
        code="retry",
        message="attempt 2 of 3 begins at 2026-01-01T12:01:05.000000Z after BankError: no money",
        since=minute(0, 5),
        execution="work#1",
        step="work",
        details={
            "attempt": 2,
            "maxAttempts": 3,
            "failures": 1,
            "retryAt": minute(1, 5),
            "error": {"type": "BankError", "message": "no money"},
        },
        moves=[Move(what="it is tried again by itself", at=minute(1, 5))],
    )


def test_a_retry_that_is_due_waits_for_a_worker_like_any_other() -> None:
    run = Run(RETRIES).start().fail("work")
    assert cause(run, at("59s")).code == "retry"
    assert cause(run, at("1m")).code == "no-worker"


def test_attempts_after_an_operators_retry_are_counted_on() -> None:
    run = Run(RETRIES).start().fail("work").fail("work").fail("work")
    run.ask(c.RetryStep, execution="work#1", actor="ann", reason="again")
    run.fail("work")
    found = cause(run)
    assert found.message.startswith("attempt 5 of 6 begins at")
    assert (found.details["attempt"], found.details["maxAttempts"], found.details["failures"]) == (5, 3, 4)


# What runs ----------------------------------------------------------------------------


def token_of(run: Run) -> str:
    (open,) = run.state.open.values()
    assert isinstance(open, Running)
    return open.token


def test_a_lease_names_its_worker_the_last_sign_of_life_and_when_it_times_out() -> None:
    run = Run(ONE).start().later("2s")
    lease = run.claim("work", worker="ada")
    run.later("3s").ask(c.Beat, progress={"done": 5}, **lease)
    assert cause(run.later("1s")) == Cause(
        code="running",
        message="worker ada holds the lease of attempt 1 since 2026-01-01T12:00:02.000000Z;"
        " last sign of life 2026-01-01T12:00:05.000000Z",
        since=minute(0, 2),
        execution="work#1",
        step="work",
        details={"worker": "ada", "attempt": 1, "lastSignAt": minute(0, 5), "progress": {"done": 5}},
        moves=[
            Move(what="its worker reports, or its lease is lost and it is handed out again"),
            Move(what="it times out", at=minute(0, 32)),
        ],
    )


@pytest.mark.parametrize(
    ("limits", "ends"),
    [
        ("heartbeat: 10s", [minute(0, 10)]),
        ("scheduleToClose: 20s", [minute(0, 20)]),
        ("timeout: 30s, scheduleToClose: 1m, heartbeat: 10s", [minute(0, 10)]),
        ("priority: high", []),
    ],
)
def test_the_first_limit_of_a_running_attempt_is_the_one_told(limits: str, ends: list[str]) -> None:
    run = Run(ONE.replace("timeout: 30s", limits)).start()
    run.claim("work")
    assert [move.at for move in cause(run).moves[1:]] == ends


def test_a_worker_that_does_not_speak_to_this_server_says_so() -> None:
    run = Run(ONE).start()
    run.claim("work")
    silent = {token_of(run): Lease(alive=False, last_sign_at=at("4s"))}
    found = cause(run.later("20s"), leases=silent)
    assert found.code == "lease-silent"
    assert found.message == (
        "worker w1 does not speak to this server, and holds the lease of attempt 1"
        " since 2026-01-01T12:00:00.000000Z; last sign of life 2026-01-01T12:00:04.000000Z"
    )
    assert found.details["lastSignAt"] == minute(0, 4)
    assert cause(run, leases={token_of(run): Lease(last_sign_at=at("4s"))}).code == "running"


def child_of(run: Run, execution: str, since: str, do: str, said: str) -> Cause:
    child = run.last(StepStarted).token
    return Cause(
        code="child",
        message=f"it waits for its child {child} (invoice){said}",
        since=since,
        execution=execution,
        step="bill",
        details={"instanceId": child, "definition": "invoice", "do": do},
        moves=[Move(what="ask why the child is not moving", command=f"tenuto why {child}")],
    )


def test_a_child_is_waited_for_and_is_to_be_asked_itself() -> None:
    run = Run(PARENT).start()
    assert causes(run.later("1m")) == [child_of(run, "bill#1", NOON, "run", "")]


@pytest.mark.parametrize(
    ("on_close", "do", "said"),
    [("cancel", "cancel", " to undo what it did"), ("terminate", "terminate", " to end")],
)
def test_a_child_whose_parent_is_cancelled_says_what_it_has_yet_to_do(
    on_close: str, do: str, said: str
) -> None:
    run = Run(PARENT.replace("invoice", f"invoice, onParentClose: {on_close}")).start().later("1m")
    run.ask(c.CancelInstance, actor="ann", reason="enough")
    undo, rollback = causes(run)
    assert undo == child_of(run, "bill#1/undo", minute(1), do, said)
    assert rollback.code == "compensating"


# What waits for a person --------------------------------------------------------------


def test_a_step_that_is_stuck_lists_every_act_with_its_command() -> None:
    run = Run(STUCK).start().complete("book").later("2s").fail("pay", error("BankError", "no money"))
    named = f"{ID} --execution 'pay#1'"
    assert cause(run.later("1m")) == Cause(
        code="stuck",
        message="the step pay#1 failed for good and waits for a person: BankError: no money",
        since=minute(0, 2),
        execution="pay#1",
        step="pay",
        details={"attempts": 1, "error": {"type": "BankError", "message": "no money"}},
        moves=[
            act("try it again", f"retry {named}"),
            act("go on without it", f"skip {named}"),
            act("say what it should have answered", f"resolve {named} --output '{{}}'"),
            act("let it fail: the definition says what follows", f"fail {named}"),
            act("end the instance, undo everything", f"compensate {ID}"),
        ],
    )


def test_an_undo_that_is_stuck_can_be_given_up_and_comes_before_the_rollback() -> None:
    run = Run(STUCK).start().complete("book").later("2s")
    run.ask(c.CancelInstance, actor="ann", reason="enough")
    run.later("3s").fail("unbook", error("Gone", "no such booking"))
    first, second = causes(run.later("1m"))
    named = f"{ID} --execution 'book#1/undo'"
    assert first == Cause(
        code="undo-stuck",
        message="the undo book#1/undo failed for good and waits for a person: Gone: no such booking",
        since=minute(0, 5),
        execution="book#1/undo",
        step="unbook",
        details={"attempts": 1, "error": {"type": "Gone", "message": "no such booking"}},
        moves=[
            act("try it again", f"retry {named}"),
            act("leave the effect, and go on", f"give-up {named}"),
            act("say what it should have answered", f"resolve {named} --output '{{}}'"),
        ],
    )
    assert (second.code, second.details["pending"]) == ("compensating", ["book#1"])


@pytest.mark.parametrize(("standing", "retried"), [(["write#1"], False), ([], True)])
def test_a_child_that_left_effects_behind_is_not_said_to_be_retried(
    standing: list[str], *, retried: bool
) -> None:
    run = Run(PARENT + 'errorHandlers: [{errors: ["*"], do: pause}]\n').start()
    details = {"standing": standing} if standing else None
    run.fail("bill", StepError(type="ChildFailedError", message="no", retryable=False, details=details))
    found = cause(run)
    assert found.code == "stuck"
    acts = [move.command.split()[1] for move in found.moves if move.command is not None]
    assert acts == ["retry"] * retried + ["skip", "resolve", "fail", "compensate"]


# What waits ---------------------------------------------------------------------------


def waiting(fields: str, **start: Any) -> Cause:
    run = Run(f"steps:\n  - {{id: ask, type: wait, {fields}}}\n").start(**start)
    return cause(run.later("1m"))


def signal(key: Json, until: str | None) -> Cause:
    keyed = f" (key {key})" if key else ""
    return Cause(
        code="signal",
        message=f"it waits for the signal go{keyed}{f', until {until}' if until else ''}",
        since=NOON,
        execution="ask#1",
        step="ask",
        details={"signal": "go", "correlationKey": key, "until": until},
        moves=[
            Move(what="send the signal", command=f"tenuto signal {ID} go --payload '{{}}'"),
            *([Move(what="its time is over", at=until)] if until else []),
        ],
    )


def test_a_wait_says_for_which_signal_under_which_key_until_when() -> None:
    assert waiting("signal: go") == signal(None, None)
    assert waiting("signal: go", correlation_id="order-17") == signal("order-17", None)
    own = "signal: go, correlationKey: $.input.key, for: 10m"
    assert waiting(own, input={"key": "k1"}, correlation_id="order-17") == signal("k1", minute(10))


def test_a_wait_for_a_time_says_until_when() -> None:
    assert waiting("for: 10m") == Cause(
        code="timer",
        message="it waits until 2026-01-01T12:10:00.000000Z",
        since=NOON,
        execution="ask#1",
        step="ask",
        moves=[Move(what="its time is over", at=minute(10))],
    )


def test_what_runs_inside_a_scope_is_listed_and_the_scope_is_not_the_most_blocking_first() -> None:
    both = """
steps:
  - id: fork
    type: parallel
    branches:
      left: [{id: ask, type: wait, signal: go}]
      right: [{id: work, type: task, action: worker:w/work}]
"""
    found = causes(Run(both).start())
    assert [(one.code, one.step) for one in found] == [("no-worker", "work"), ("signal", "ask")]
