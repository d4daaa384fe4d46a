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

from domain.errors import CorruptHistoryError
from domain.events import InstanceStarted, StatusChanged
from projections.log import Logged, decode
from projections.statements import Statements, load

MAX_ORIGINS = 10_000
"""Instances whose origin is remembered; of older ones it is read again."""


class Origin(Struct, frozen=True):
    """Where an instance belongs."""

    namespace: str
    definition: str


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
    wanted = frozenset({InstanceStarted.__name__, StatusChanged.__name__})

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self._origins: dict[str, Origin] = {}  # Facts that never change, so a rollback leaves nothing wrong.

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        changes: list[tuple[Logged, StatusChanged]] = []
        for logged in events:
            match logged.happened.event:
                case InstanceStarted() as event:
                    self._remember(logged.stream, event)
                case StatusChanged() as event:
                    changes.append((logged, event))
        self._look_up(cursor, {logged.stream for logged, _ in changes} - self._origins.keys())
        if changes:
            rows = [self._row(logged, event) for logged, event in changes]
            cursor.execute(self.statements["insert"], {"rows": msgspec.json.encode(rows).decode()})
        while len(self._origins) > MAX_ORIGINS:
            del self._origins[next(iter(self._origins))]

    def _row(self, logged: Logged, event: StatusChanged) -> Row:
        now = logged.happened
        origin = self._origins.get(logged.stream)
        if origin is None:
            problem = "StatusChanged of an instance that was never started"
            raise CorruptHistoryError(instance_id=logged.stream, version=now.version, problem=problem)
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

    def _look_up(self, cursor: Cursor[Any], instances: set[str]) -> None:
        if not instances:
            return
        cursor.execute(self.statements["origins"], {"ids": list(instances)})
        for instance, topic, payload in cursor.fetchall():
            event = decode(topic, payload, self.wanted)
            if isinstance(event, InstanceStarted):
                self._remember(instance, event)

    def _remember(self, instance: str, event: InstanceStarted) -> None:
        self._origins[instance] = Origin(event.namespace, event.definition)
