"""The projection `transitions`: every change of status of every instance, who made it and why (S099, S102,
S117).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import Cursor, sql

from domain.events import InstanceStarted, StatusChanged
from projections.log import Logged
from projections.origins import Origins
from projections.statements import Statements, load


class Row(Struct, kw_only=True):
    """A row of the table, as JSON."""

    position: int
    namespace: str
    definition: str
    instance: str
    version: int
    from_status: str
    to_status: str
    reason: str
    actor: str | None
    at: datetime


class Transitions:
    """See `Projection`."""

    name = "transitions"
    every_event = False
    wanted = frozenset({InstanceStarted.__name__, StatusChanged.__name__})

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self._origins = Origins(views, log)

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        changes: list[tuple[Logged, StatusChanged]] = []
        for logged in events:
            match logged.happened.event:
                case InstanceStarted() as event:
                    self._origins.note(logged.stream, logged.happened, event)
                case StatusChanged() as event:
                    changes.append((logged, event))
        if changes:
            self._origins.look_up(cursor, {logged.stream for logged, _ in changes})
            rows = [self._row(logged, event) for logged, event in changes]
            cursor.execute(self.statements["insert"], {"rows": msgspec.json.encode(rows).decode()})

    def _row(self, logged: Logged, event: StatusChanged) -> Row:
        now = logged.happened
        origin = self._origins.of(logged)
        return Row(
            position=logged.position,
            namespace=origin.namespace,
            definition=origin.definition,
            instance=logged.stream,
            version=now.version,
            from_status=event.from_status,
            to_status=event.to,
            reason=now.reason or "",
            actor=now.actor,
            at=now.at,
        )
