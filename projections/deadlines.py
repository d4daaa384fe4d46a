"""The projection `deadlines`: what each instance has to reach by when, and whether it did.

A deadline whose instance has ended without reaching its goal has no event of its own: it stays `open` here, and lists
leave it out by the instance's status.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct
from psycopg import Cursor, sql

from domain.errors import CorruptHistoryError
from domain.events import DeadlineEscalated, DeadlineMet, DeadlineMissed, DeadlineSet
from projections.log import Logged
from projections.origins import Origins
from projections.statements import Statements, load

Standing = Literal["open", "met", "missed"]
TOPICS = (DeadlineSet, DeadlineEscalated, DeadlineMet, DeadlineMissed)


class Row(Struct, kw_only=True):
    """A row of the table, as JSON."""

    instance: str
    name: str
    namespace: str
    definition: str
    set_at: datetime
    due_at: datetime
    standing: Standing = "open"
    escalated: int = 0
    ended_at: datetime | None = None


class Deadlines:
    """See `Projection`."""

    name = "deadlines"
    every_event = False
    wanted = frozenset(kind.__name__ for kind in TOPICS)

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self._origins = Origins(views, log)

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        concerned = [logged for logged in events if isinstance(logged.happened.event, TOPICS)]
        if not concerned:
            return
        streams = {logged.stream for logged in concerned}
        self._origins.look_up(cursor, streams)
        cursor.execute(self.statements["rows"], {"instances": list(streams)})
        rows = {(row.instance, row.name): row for row in (_decode(text) for (text,) in cursor.fetchall())}
        for logged in concerned:
            self._fold(rows, logged)
        cursor.execute(self.statements["upsert"], {"rows": msgspec.json.encode(list(rows.values())).decode()})

    def _fold(self, rows: dict[tuple[str, str], Row], logged: Logged) -> None:
        event, at = logged.happened.event, logged.happened.at
        match event:
            case DeadlineSet():
                origin = self._origins.of(logged)
                rows[logged.stream, event.name] = Row(
                    instance=logged.stream,
                    name=event.name,
                    namespace=origin.namespace,
                    definition=origin.definition,
                    set_at=at,
                    due_at=event.due_at,
                )
            case DeadlineEscalated():
                _row(rows, logged, event.name).escalated = event.percent
            case DeadlineMet() | DeadlineMissed():
                row = _row(rows, logged, event.name)
                row.standing = "met" if isinstance(event, DeadlineMet) else "missed"
                row.ended_at = at


def _row(rows: dict[tuple[str, str], Row], logged: Logged, name: str) -> Row:
    row = rows.get((logged.stream, name))
    if row is None:
        problem = f"{type(logged.happened.event).__name__} of deadline {name!r}, which was never set"
        version = logged.happened.version
        raise CorruptHistoryError(instance_id=logged.stream, version=version, problem=problem)
    return row


_decode = msgspec.json.Decoder(Row).decode
