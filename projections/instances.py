"""The projection `instances`: one row per instance, to search, filter, count and page through.

What is true of one instance is read from its own log (`domain/history.py`); this is the list of all of them,
and as old as its position. `open` holds, per open execution, its step and what it is waiting for: the same
rules as `domain/evolve.py`, no more of them than `waiting_for` and `current_step` need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct, field
from psycopg import Cursor, sql

from domain import events as e
from domain.errors import CorruptHistoryError
from domain.executions import CHILD, MANUAL, waiting_for
from domain.happened import Happened
from domain.paths import UNDO
from domain.status import TERMINAL
from projections.log import Logged
from projections.statements import Statements, load

WORK = "work"
"""An attempt is queued or running: nothing that an instance could be waiting for."""

_NULL = Raw(b"null")


class Row(Struct, kw_only=True):
    """A row of the table, as JSON both ways. Free JSON stays raw: what PostgreSQL made of a number is not
    changed."""

    id: str
    namespace: str
    definition: str
    version: str
    created_at: datetime
    updated_at: datetime
    event_version: int
    correlation_id: str | None = None
    status: str = "pending"
    outcome: str | None = None
    waiting_for: list[str] = field(default_factory=list)
    business_status: str | None = None
    current_step: str | None = None
    paused: bool = False
    priority: str = "normal"
    labels: dict[str, str] = field(default_factory=dict)
    error: Raw = _NULL
    result: Raw = _NULL
    parent_instance: str | None = None
    parent_execution: str | None = None
    start_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    timeout_at: datetime | None = None
    open: dict[str, tuple[str, str]] = field(default_factory=dict)


class Instances:
    """See `Projection`."""

    name = "instances"
    every_event = True

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self.wanted = frozenset({e.InstanceStarted.__name__, *(kind.__name__ for kind in APPLIERS)})

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        rows = self._rows(cursor, events)
        changed: dict[str, Row] = {}
        for logged in events:
            row = advance(rows, logged.stream, logged.happened)
            if row is not None:
                changed[row.id] = row
        if changed:
            for row in changed.values():
                settle(row)
            cursor.execute(self.statements["upsert"], {"rows": _encode(list(changed.values())).decode()})

    def _rows(self, cursor: Cursor[Any], events: Sequence[Logged]) -> dict[str, Row]:
        born = {logged.stream for logged in events if isinstance(logged.happened.event, e.InstanceStarted)}
        ids = list({logged.stream for logged in events} - born)
        if not ids:
            return {}
        cursor.execute(self.statements["rows"], {"ids": ids})
        return {row.id: row for row in (_decode(text) for (text,) in cursor.fetchall())}


def advance(rows: dict[str, Row], stream: str, now: Happened) -> Row | None:
    """Folds one event into its instance's row, and answers the row; None for a stream that is no instance."""
    event = now.event
    if isinstance(event, e.InstanceStarted):
        row = rows[stream] = _born(stream, now, event)
        return row
    found = rows.get(stream)
    if found is None:
        if "/" in stream:  # Of another kind: a definition's, a webhook's, that of signals kept under a key.
            return None
        problem = f"{type(event).__name__} of an instance that was never started"
        raise CorruptHistoryError(instance_id=stream, version=now.version, problem=problem)
    found.event_version, found.updated_at = now.version, now.at
    applier = APPLIERS.get(type(event))
    if applier is not None:
        applier(found, now, event)
    return found


def _born(stream: str, now: Happened, event: e.InstanceStarted) -> Row:
    return Row(
        id=stream,
        namespace=event.namespace,
        definition=event.definition,
        version=event.version,
        created_at=now.at,
        updated_at=now.at,
        event_version=now.version,
        correlation_id=event.correlation_id,
        priority=event.priority or "normal",
        labels=event.labels or {},
        parent_instance=event.parent.instance_id if event.parent else None,
        parent_execution=event.parent.execution if event.parent else None,
        start_at=event.start_at,
        timeout_at=event.timeout_at,
    )


def settle(row: Row) -> None:
    """What follows from the open executions, once all events of the batch are folded."""
    kinds = {kind for _, kind in row.open.values()} - {WORK}
    row.waiting_for = sorted(kinds if row.status == "waiting" else kinds & {MANUAL})
    steps = [] if row.status in TERMINAL else list(row.open.values())
    row.current_step = steps[-1][0] if steps else None


def _status_changed(row: Row, now: Happened, event: e.StatusChanged) -> None:
    row.status = event.to
    if event.to == "running" and row.started_at is None:
        row.started_at = now.at
    if event.to in TERMINAL:
        row.ended_at, row.outcome = now.at, event.outcome
        row.result = Raw(_encode(event.result))
        row.error = Raw(_encode(event.error))


def _business_status_changed(row: Row, now: Happened, event: e.BusinessStatusChanged) -> None:
    row.business_status = event.to


def _paused(row: Row, now: Happened, event: e.Paused) -> None:
    row.paused = True


def _resumed(row: Row, now: Happened, event: e.Resumed) -> None:
    row.paused = False


def _scheduled(row: Row, now: Happened, event: e.StepScheduled) -> None:
    row.open[event.execution] = (event.step, "child" if event.action.startswith(CHILD) else WORK)


def _failed(row: Row, now: Happened, event: e.StepFailed) -> None:
    if event.retry_at is not None:
        return
    before = row.open.pop(event.execution, None)
    if before is not None and event.execution.endswith(UNDO):
        # CompensationFailed follows: it is for a person.
        row.open[event.execution] = (before[0], MANUAL)


def _wait_started(row: Row, now: Happened, event: e.WaitStarted) -> None:
    row.open[event.execution] = (event.step, waiting_for(event.signal, event.until))


def _closed(row: Row, now: Happened, event: Any) -> None:
    row.open.pop(event.execution, None)


APPLIERS: dict[type[e.Event], Callable[[Row, Happened, Any], None]] = {
    e.StatusChanged: _status_changed,
    e.BusinessStatusChanged: _business_status_changed,
    e.Paused: _paused,
    e.Resumed: _resumed,
    e.StepScheduled: _scheduled,
    e.StepFailed: _failed,
    e.StepCompleted: _closed,
    e.StepCancelled: _closed,
    e.StepSkipped: _closed,
    e.StepResolved: _closed,
    e.WaitStarted: _wait_started,
    e.WaitEnded: _closed,
    e.Compensated: _closed,
    e.CompensationGivenUp: _closed,
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Row).decode
