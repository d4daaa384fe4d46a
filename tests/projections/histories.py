"""Histories of orders, made by hand: what the decider would write, command by command. Also a log to write them to."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from domain.calls import StepError
from domain.codec import encode, topic_of
from domain.events import (
    AlertAcknowledged,
    AlertRaised,
    BusinessStatusChanged,
    CancelRequested,
    Compensated,
    CompensationEnded,
    CompensationFailed,
    CompensationGivenUp,
    CompensationStarted,
    DeadlineEscalated,
    DeadlineMet,
    DeadlineMissed,
    DeadlineSet,
    DecisionMade,
    Event,
    InstanceStarted,
    SignalReceived,
    StatusChanged,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepResolved,
    StepRetried,
    StepScheduled,
    StepSkipped,
    StepStarted,
    WaitEnded,
    WaitStarted,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DECLINED = StepError(type="PaymentDeclinedError", message="card declined", retryable=False, code="51")
BUSY = StepError(type="ServiceUnavailableError", message="try again")

Command = list[Event]
"""The events of one command: the first carries the envelope."""


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def command(second: float, *events: Event, actor: str | None = None, reason: str | None = None) -> Command:
    """The events of one command, decided `second` seconds after noon."""
    events[0].at, events[0].actor = after(second), actor
    if reason is not None:
        events[0].reason = reason
    return list(events)


def status(before: str, to: str, reason: str, **more: object) -> StatusChanged:
    return StatusChanged(from_status=before, to=to, reason=reason, **more)  # type: ignore[arg-type]


def started(**more: object) -> InstanceStarted:
    fields: dict[str, object] = {
        "namespace": "default",
        "definition": "order",
        "version": "1",
        "definition_hash": "abc",
        "input": {"orderId": "o-1", "amount": 1200},
        "correlation_id": "o-1",
        "labels": {"tier": "premium", "region": "eu"},
        **more,
    }
    return InstanceStarted(**fields)  # type: ignore[arg-type]


def scheduled(execution: str, attempt: int = 1, **more: object) -> StepScheduled:
    step = execution.partition("#")[0]
    fields: dict[str, object] = {
        "step": step,
        "name": step.title(),
        "action": f"http:{step}/do",
        "queue": f"http:{step}",
        "input": {"for": step} if attempt == 1 else None,
        **more,
    }
    return StepScheduled(execution=execution, attempt=attempt, **fields)  # type: ignore[arg-type]


def claimed(execution: str, attempt: int = 1) -> StepStarted:
    return StepStarted(execution=execution, attempt=attempt, worker="w1", token=f"{execution}-{attempt}")


def done(execution: str, attempt: int = 1) -> StepCompleted:
    step = execution.partition("#")[0]
    return StepCompleted(execution=execution, attempt=attempt, output={"id": step}, data={step: {"id": step}})


def happy(**more: object) -> list[Command]:
    """Two steps with a decision between them; 11 events."""
    return [
        command(
            0,
            started(**more),
            status("pending", "running", "started"),
            BusinessStatusChanged(to="charging"),
            scheduled("charge#1", compensate_with="refund"),
            actor="alice",
        ),
        command(1, claimed("charge#1")),
        command(
            2,
            done("charge#1"),
            DecisionMade(execution="isPaid#1", step="isPaid", next="ship"),
            scheduled("ship#1", compensate_with="cancelShipment"),
        ),
        command(3, claimed("ship#1")),
        command(
            4.25,
            done("ship#1"),
            status("running", "completed", "all steps are done", outcome="succeeded", result={"total": 12.5}),
        ),
    ]


def declined() -> list[Command]:
    """The first step fails for good with nothing to undo."""
    return [
        *happy()[:2],
        command(
            2,
            StepFailed(execution="charge#1", attempt=1, error=DECLINED),
            status(
                "running",
                "failed",
                "charge failed: card declined",
                outcome="failed",
                error=DECLINED,
                result=None,
            ),
        ),
    ]


def retried() -> list[Command]:
    """The second step succeeds at its second attempt."""
    opening = happy()[:4]
    return [
        *opening,
        command(
            4,
            StepFailed(execution="ship#1", attempt=1, error=BUSY, retry_at=after(9)),
            scheduled("ship#1", 2, due_at=after(9), compensate_with="cancelShipment"),
        ),
        command(9.5, claimed("ship#1", 2)),
        command(
            10,
            done("ship#1", 2),
            status("running", "completed", "all steps are done", outcome="succeeded"),
        ),
    ]


def compensated() -> list[Command]:
    """The second step fails for good, and the first is undone."""
    return [
        *happy()[:4],
        command(
            5,
            StepFailed(execution="ship#1", attempt=1, error=BUSY),
            CompensationStarted(trigger="failure", reason="ship failed", executions=["charge#1"]),
            status("running", "compensating", "ship failed"),
            scheduled("charge#1/undo", step="refund", name="Refund", undoes="charge#1"),
        ),
        command(6, claimed("charge#1/undo")),
        command(
            7,
            Compensated(execution="charge#1/undo", attempt=1, undoes="charge#1", output={"refunded": True}),
            CompensationEnded(undone=["charge#1"], failed=[]),
            status("compensating", "completed", "ship failed", outcome="compensated", error=BUSY),
        ),
    ]


def undo_failed() -> list[Command]:
    """As `compensated`, but the undo fails and an operator gives it up."""
    return [
        *compensated()[:6],
        command(
            7,
            StepFailed(execution="charge#1/undo", attempt=1, error=BUSY),
            CompensationFailed(execution="charge#1/undo", undoes="charge#1", error=BUSY),
        ),
        command(
            60,
            CompensationGivenUp(execution="charge#1/undo"),
            CompensationEnded(undone=[], failed=["charge#1"]),
            status(
                "compensating", "failed", "given up", outcome="compensation_failed", standing=["charge#1"]
            ),
            actor="bob",
            reason="refunded by hand",
        ),
    ]


def stuck() -> list[Command]:
    """The first step fails for good, waits for an operator, is retried, and all goes well."""
    return [
        *happy()[:2],
        command(
            2,
            StepFailed(execution="charge#1", attempt=1, error=BUSY),
            WaitStarted(execution="charge#1", step="charge"),
            status("running", "waiting", "charge failed"),
        ),
        command(
            100,
            StepRetried(execution="charge#1"),
            scheduled("charge#1", 2, compensate_with="refund"),
            status("waiting", "running", "retried"),
            actor="bob",
            reason="the bank is back",
        ),
        command(101, claimed("charge#1", 2)),
        command(
            102,
            done("charge#1", 2),
            status("running", "completed", "all steps are done", outcome="succeeded"),
        ),
    ]


def approved() -> list[Command]:
    """A wait for a signal, which comes."""
    return [
        command(
            0,
            started(),
            status("pending", "running", "started"),
            WaitStarted(execution="approval#1", step="approval", signal="approval", until=after(86400)),
            status("running", "waiting", "waiting for a signal"),
        ),
        command(
            30,
            SignalReceived(signal_id="s1", name="approval", payload={"decision": "approved"}),
            WaitEnded(
                execution="approval#1",
                by="signal",
                signal_id="s1",
                data={"approval": {"decision": "approved"}},
            ),
            status("waiting", "running", "approval came"),
            status("running", "completed", "all steps are done", outcome="succeeded"),
            actor="carol",
        ),
    ]


def cancelled() -> list[Command]:
    """Cancelled while the first step runs."""
    return [
        *happy()[:2],
        command(
            2,
            CancelRequested(),
            StepCancelled(execution="charge#1", reason="no longer wanted"),
            CompensationStarted(trigger="cancel", reason="no longer wanted", executions=[]),
            status("running", "compensating", "no longer wanted"),
            CompensationEnded(undone=[], failed=[]),
            status("compensating", "completed", "no longer wanted", outcome="cancelled"),
            actor="dave",
            reason="no longer wanted",
        ),
    ]


def undone_back() -> list[Command]:
    """The second step fails, a compensate step undoes the first, and a wait follows it."""
    return [
        *happy()[:4],
        command(
            5,
            StepFailed(execution="ship#1", attempt=1, error=BUSY),
            CompensationStarted(trigger="askAgain#1", reason="ship failed", executions=["charge#1"]),
            scheduled("charge#1/undo", step="refund", name="Refund", undoes="charge#1"),
        ),
        command(6, claimed("charge#1/undo")),
        command(
            7,
            Compensated(execution="charge#1/undo", attempt=1, undoes="charge#1"),
            CompensationEnded(undone=["charge#1"], failed=[]),
            WaitStarted(execution="rest#1", step="rest", until=after(17)),
            status("running", "waiting", "waiting for a timer"),
        ),
        command(
            17,
            WaitEnded(execution="rest#1", by="timer"),
            status("waiting", "running", "rest is over"),
            status("running", "completed", "all steps are done", outcome="succeeded"),
        ),
    ]


def skipped() -> list[Command]:
    """A stuck step is skipped by an operator, and a timer follows."""
    rest = WaitStarted(execution="rest#1", step="rest", until=after(90))
    return [
        *stuck()[:3],
        command(50, StepSkipped(execution="charge#1"), rest, actor="bob", reason="free of charge"),
    ]


def resolved() -> list[Command]:
    """A stuck step is resolved by an operator, and a timer follows."""
    rest = WaitStarted(execution="rest#1", step="rest", until=after(90))
    return [
        *stuck()[:3],
        command(50, StepResolved(execution="charge#1", output={}), rest, actor="bob", reason="paid by hand"),
    ]


def late() -> list[Command]:
    """Two deadlines: one is missed, with an alert that is acknowledged and raised again; the other is met."""
    alert = {"alert_id": "charge#1/late", "severity": "high", "step": "charge", "action": "none"}
    return [
        command(
            0,
            started(),
            status("pending", "running", "started"),
            DeadlineSet(name="paid", due_at=after(10)),
            DeadlineSet(name="shipped", due_at=after(3600)),
            scheduled("charge#1"),
        ),
        command(1, claimed("charge#1")),
        command(8, DeadlineEscalated(name="paid", percent=80)),
        command(10, DeadlineMissed(name="paid"), AlertRaised(**alert, message="deadline was missed")),  # type: ignore[arg-type]
        command(11, AlertAcknowledged(alert_id="charge#1/late"), actor="erin", reason="seen"),
        command(12, AlertRaised(**alert, message="still late", retry_count=2, error=BUSY)),  # type: ignore[arg-type]
        command(20, done("charge#1"), DeadlineMet(name="shipped"), scheduled("ship#1", queue="boats")),
    ]


STORIES = (happy, declined, retried, compensated, undo_failed, stuck, approved, cancelled, undone_back, late)


def mixed(count: int, seed: int = 1, prefix: str = "i") -> list[tuple[str, Command]]:
    """The commands of `count` instances of all kinds, in one interleaved order."""
    chance = random.Random(seed)
    waiting = {f"{prefix}{n:04}": list(STORIES[n % len(STORIES)]()) for n in range(count)}
    order: list[tuple[str, Command]] = []
    while waiting:
        name = chance.choice(sorted(waiting)[:25])
        order.append((name, waiting[name].pop(0)))
        if not waiting[name]:
            del waiting[name]
    return order


class Log:
    """A log table as the event store makes it, and a way to append to it."""

    def __init__(self, database: str, schema: str, *, make: bool = True) -> None:
        self.database = database
        self.schema = schema
        self._versions: dict[str, int] = {}
        self._table = sql.Identifier(schema, "stored_events")
        if not make:
            return
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                sql.SQL(
                    "CREATE TABLE {} (originator_id text NOT NULL, originator_version bigint NOT NULL, topic text,"
                    " state bytea, notification_id bigserial, PRIMARY KEY (originator_id, originator_version))"
                ).format(self._table)
            )
            connection.execute(sql.SQL("CREATE UNIQUE INDEX ON {} (notification_id)").format(self._table))

    def append(self, commands: Iterable[tuple[str, Sequence[Event]]]) -> int:
        """Appends all of it in one transaction; the position of the last event."""
        rows = [
            (stream, self._next(stream), topic_of(event), encode(event))
            for stream, events in commands
            for event in events
        ]
        return self.append_raw(rows)

    def append_raw(self, rows: Sequence[tuple[str, int, str, bytes]]) -> int:
        insert = sql.SQL(
            "INSERT INTO {} (originator_id, originator_version, topic, state)"
            " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bytea[])"
        ).format(self._table)
        with psycopg.connect(self.database) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(1)")
            connection.execute(insert, [list(column) for column in zip(*rows, strict=True)])
        return self.end()

    def end(self) -> int:
        """The position of the last event."""
        with psycopg.connect(self.database) as connection:
            query = sql.SQL("SELECT max(notification_id) FROM {}").format(self._table)
            row: tuple[int] | None = connection.execute(query).fetchone()
            return row[0] if row else 0

    def events(self, stream: str) -> list[tuple[int, str, bytes]]:
        """(version, topic, payload) of one stream."""
        with psycopg.connect(self.database) as connection:
            query = sql.SQL(
                "SELECT originator_version, topic, state FROM {} WHERE originator_id = %s ORDER BY originator_version"
            ).format(self._table)
            return connection.execute(query, (stream,)).fetchall()

    def _next(self, stream: str) -> int:
        self._versions[stream] = self._versions.get(stream, 0) + 1
        return self._versions[stream]
