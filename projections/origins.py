"""Where instances belong: said by the first event of each, remembered, and read from the log again when forgotten.

Facts that never change, so a transaction that is rolled back leaves nothing wrong here. Used by the projections whose
rows carry a definition and a namespace, and whose events do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Cursor, sql

from domain.errors import CorruptHistoryError
from domain.events import InstanceStarted
from domain.happened import Happened
from projections.log import Logged, decode
from projections.statements import load

MAX_ORIGINS = 10_000
"""Instances whose origin is remembered; of older ones it is read again."""
STARTED = frozenset({InstanceStarted.__name__})


class Origin(NamedTuple):
    """Where an instance belongs, and when it began or is to begin."""

    namespace: str
    definition: str
    version: str
    begins_at: datetime


class Origins:
    """One projection's memory."""

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self._sql = load("origins", views=views, log=log)
        self._known: dict[str, Origin] = {}

    def note(self, stream: str, now: Happened, event: InstanceStarted) -> Origin:
        origin = Origin(event.namespace, event.definition, event.version, event.start_at or now.at)
        self._known[stream] = origin
        return origin

    def look_up(self, cursor: Cursor[Any], streams: Iterable[str]) -> None:
        """Reads those that are not remembered, in one query; makes room first."""
        while len(self._known) > MAX_ORIGINS:
            del self._known[next(iter(self._known))]
        missing = set(streams) - self._known.keys()
        if not missing:
            return
        cursor.execute(self._sql["origins"], {"ids": list(missing)})
        for stream, version, topic, payload in cursor.fetchall():
            event = decode(topic, payload, STARTED)
            if isinstance(event, InstanceStarted) and event.at is not None:
                self.note(stream, Happened(version, event.at, event), event)

    def of(self, logged: Logged) -> Origin:
        """Raises CorruptHistoryError for an event of an instance that was never started."""
        origin = self._known.get(logged.stream)
        if origin is None:
            kind = type(logged.happened.event).__name__
            problem = f"{kind} of an instance that was never started"
            version = logged.happened.version
            raise CorruptHistoryError(instance_id=logged.stream, version=version, problem=problem)
        return origin
