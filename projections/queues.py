"""The projection `queues`: how long attempts waited in their queue before a worker took them, by minute (S199, S200).

One row counts the attempts of one queue that were taken in one minute and had waited about as long. The last hour is
kept. How many wait now is not here: that is what is owed, which the engine writes with its events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import Cursor, sql

from domain.events import StepScheduled, StepStarted
from projections.histogram import bucket_of
from projections.log import Logged
from projections.openings import Key, Opening, Openings
from projections.statements import Statements, load

LONGEST_NAME = 200
"""Characters of a queue's name that tell it from others: an index refuses very long keys."""

Slot = tuple[datetime, str, int]
"""(minute, queue, bucket)"""


class Queues:
    """See `Projection`."""

    name = "queues"
    every_event = False
    wanted = frozenset({StepScheduled.__name__, StepStarted.__name__})

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)
        self._queued = Openings(StepScheduled, views, log)

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        taken: Counter[Slot] = Counter()
        late: dict[Key, datetime] = {}
        for logged in events:
            event = logged.happened.event
            if type(event) is StepScheduled:
                self._queued.note(logged.stream, logged.happened.at, event)
            elif type(event) is StepStarted:
                key = (logged.stream, event.execution, event.attempt)
                opening = self._queued.take(key)
                if opening is None:
                    late[key] = logged.happened.at
                else:
                    taken[_slot(logged.happened.at, opening)] += 1
        if late:
            for key, opening in self._queued.read(cursor, late, events[0].position).items():
                taken[_slot(late[key], opening)] += 1
        self._queued.tidy()
        if taken:
            rows = [
                {"minute": minute, "queue": queue, "bucket": bucket, "count": count}
                for (minute, queue, bucket), count in taken.items()
            ]
            cursor.execute(self.statements["add"], {"rows": msgspec.json.encode(rows).decode()})
            cursor.execute(self.statements["forget"])


def _slot(at: datetime, opening: Opening) -> Slot:
    return at.replace(second=0, microsecond=0), opening.queue[:LONGEST_NAME], bucket_of(at - opening.at)
