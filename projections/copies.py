"""What the copies at the beginning of a fork's history have counted, so that it can be taken back: it happened once.

A fork is copies of another instance's events, then `Forked`, then its own. When `Forked` comes its copies have been
counted like any other events, in this batch or an earlier one; they are read again here. Visits that are still open
there stay counted, because the fork goes on with them. Refuses to know what is counted, and where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from psycopg import Cursor, sql

from domain.codec import TOPICS
from domain.events import Event, StepScheduled
from domain.evolve import evolve
from domain.happened import Happened
from domain.moves import Forked
from domain.state import State
from projections.log import Logged, decode
from projections.statements import load

Slot = TypeVar("Slot")
Count = Callable[[Counter[Slot], Logged], None]
"""Adds what one event of a history counts; it is asked for all of them, in their order."""

ALL = frozenset(TOPICS)


class Copies:
    """Of one projection."""

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self._sql = load("copies", views=views, log=log)

    def counted(self, cursor: Cursor[Any], forked: Logged, count: Count[Slot]) -> Counter[Slot]:
        """What stays counted of a fork's copies and must not: all but the visits that are open at the point."""
        cursor.execute(self._sql["copies"], {"stream": forked.stream, "version": forked.happened.version})
        state, visits = State(id=forked.stream), dict[str, Counter[Slot]]()
        counts, at = Counter[Slot](), forked.happened.at
        for position, version, topic, payload in cursor.fetchall():
            event = decode(topic, payload, ALL)
            at = event.at or at
            if isinstance(event, Forked):  # A copy, too: what was before it has been taken back then.
                counts = _open(state, visits)
            one: Counter[Slot] = Counter()
            count(one, _logged(position, forked.stream, version, at, event))
            if isinstance(event, StepScheduled) and event.attempt == 1:
                visits[event.execution] = one
            counts.update(one)
            evolve(state, event)
        counts.subtract(_open(state, visits))
        return counts


def _open(state: State, visits: dict[str, Counter[Slot]]) -> Counter[Slot]:
    counts: Counter[Slot] = Counter()
    for execution in state.open.keys() & visits.keys():
        counts.update(visits[execution])
    return counts


def _logged(position: int, stream: str, version: int, at: datetime, event: Event) -> Logged:
    return Logged(position, stream, Happened(version, at, event))
