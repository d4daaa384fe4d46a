"""The projection `step_executions`: one row per visit of a step, with its attempts, times and error.

The fold is the domain's own (`domain/executions.py`), so a row says what the instance's history says. Inputs,
outputs and single attempts stay in the log: they are read with the instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, to_builtins
from psycopg import Cursor, sql

from domain import executions as fold
from domain.errors import CorruptHistoryError
from domain.events import CompensationEnded, StepScheduled
from domain.executions import Executions, StepExecution
from domain.times import rfc3339
from projections.log import Logged
from projections.statements import Statements, load

Key = tuple[str, str]
"""(instance, execution)"""


class Row(Struct, kw_only=True):
    """A row of the table, as JSON both ways: written without its nulls, read with or without them."""

    instance: str
    execution: str
    step_id: str
    step_name: str
    kind: fold.Kind
    status: fold.ExecutionStatus
    opened_by: int
    attempt: int
    retry_count: int
    worker: str | None = None
    scheduled_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: int | None = None
    error: fold.ExecutionError | None = None
    next_retry: datetime | None = None
    waiting_for: fold.WaitingFor | None = None
    waiting_since: datetime | None = None
    signal: str | None = None
    until: datetime | None = None
    ended_by: str | None = None
    next: str | None = None
    undoes: str | None = None
    compensated_by: str | None = None


class StepExecutions:
    """See `Projection`."""

    name = "step_executions"
    every_event = False

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self.wanted = frozenset(kind.__name__ for kind in fold.APPLIERS)

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        concerned = [logged for logged in events if type(logged.happened.event) in fold.APPLIERS]
        if not concerned:
            return
        instances = self._rows(cursor, concerned)
        for logged in concerned:
            try:
                fold.advance(instances[logged.stream], logged.happened)
            except CorruptHistoryError as error:
                raise CorruptHistoryError(**{**error.details, "instance_id": logged.stream}) from error
        rows = [row_of(instance, found) for instance, known in instances.items() for found in known.values()]
        if rows:
            cursor.execute(self.statements["upsert"], {"rows": _encode(rows).decode()})

    def _rows(self, cursor: Cursor[Any], events: Iterable[Logged]) -> dict[str, Executions]:
        """What is known of every execution that the events touch, by instance."""
        asked: dict[Key, bool] = {}  # Whether it may be there already.
        ended = set()
        for logged in events:
            event = logged.happened.event
            opened = event.execution if isinstance(event, StepScheduled) and event.attempt == 1 else None
            for execution in fold.touched(event):
                asked.setdefault((logged.stream, execution), execution != opened)
            if isinstance(event, CompensationEnded):
                ended.add(logged.stream)
        keys = [key for key, may_exist in asked.items() if may_exist]
        found: dict[str, Executions] = {logged.stream: {} for logged in events}
        if keys or ended:
            instances, executions = [key[0] for key in keys], [key[1] for key in keys]
            parameters = {"instances": instances, "executions": executions, "ended": list(ended)}
            cursor.execute(self.statements["rows"], parameters)
            for row in (read_row(text) for (text,) in cursor.fetchall()):
                found[row.instance][row.execution] = execution_of(row)
        return found


def row_of(instance: str, found: StepExecution) -> dict[str, Any]:
    """The row as JSON, without what it has not: PostgreSQL takes long to read a null. RFC 3339 texts are what it reads
    times from."""
    row = {column: value for column in _SHARED if (value := getattr(found, column)) is not None}
    row["instance"], row["opened_by"] = instance, found.version
    if found.error is not None:
        row["error"] = to_builtins(found.error)
    return row


def execution_of(row: Row) -> StepExecution:
    values = {column: getattr(row, column) for column in _SHARED}
    times = {column: rfc3339(value) for column, value in values.items() if isinstance(value, datetime)}
    return StepExecution(**{**values, **times}, version=row.opened_by, attempts=[])


_SHARED = tuple(sorted(set(Row.__struct_fields__) & set(StepExecution.__struct_fields__)))
_encode = msgspec.json.Encoder().encode
read_row = msgspec.json.Decoder(Row).decode
