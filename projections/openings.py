"""When open attempts were queued or taken: what durations count from. Remembered, and read from the log when forgotten.

Nothing of it is stored: most attempts end within moments, and a row for each would be written and deleted for
nothing. After a restart the first batches read the histories of the instances that they touch.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Cursor, sql

from domain.events import StepScheduled, StepStarted
from domain.happened import Stimulus
from projections.log import decode
from projections.statements import load

MAX_OPENINGS = 50_000
"""Remembered at once; of older ones the history is read again."""

Key = tuple[str, str, int]
"""(instance, execution, attempt)"""


class Opening(NamedTuple):
    """`at`: since when it could be handed out, or was; `queue`: from where (of a queued one)."""

    at: datetime
    queue: str


class Openings:
    """Those of one kind of event: StepScheduled (queued since) or StepStarted (held by a worker since)."""

    def __init__(self, kind: type[StepScheduled | StepStarted], views: str, log: sql.Identifier) -> None:
        self._kind = kind
        self._topic = frozenset({kind.__name__})
        self._sql = load("openings", views=views, log=log)
        self._open: dict[Key, Opening] = {}

    def note(self, stream: str, at: datetime, event: StepScheduled | StepStarted) -> None:
        self._open[stream, event.execution, event.attempt] = opening_of(event, at)

    def take(self, key: Key) -> Opening | None:
        """It is over, and forgotten."""
        return self._open.pop(key, None)

    def tidy(self) -> None:
        while len(self._open) > MAX_OPENINGS:
            del self._open[next(iter(self._open))]

    def read(self, cursor: Cursor[Any], keys: Iterable[Key], before: int) -> dict[Key, Opening]:
        """The last opening of each before that position of the log; one that never opened is absent."""
        wanted = set(keys)
        streams = list({stream for stream, _, _ in wanted})
        if not streams:
            return {}
        found: dict[Key, Opening] = {}
        cursor.execute(self._sql["histories"], {"ids": streams, "before": before})
        last, stimulus = "", None
        for stream, topic, payload in cursor.fetchall():
            if stream != last:
                last, stimulus = stream, None
            event = decode(topic, payload, self._topic)
            if event.at is not None:
                stimulus = Stimulus(event.at)
            if isinstance(event, self._kind) and stimulus is not None:
                key = (stream, event.execution, event.attempt)
                if key in wanted:
                    found[key] = opening_of(event, stimulus.at)
        return found


def opening_of(event: StepScheduled | StepStarted, at: datetime) -> Opening:
    if isinstance(event, StepStarted):
        return Opening(at, "")
    return Opening(at if event.due_at is None or event.due_at < at else event.due_at, event.queue)
