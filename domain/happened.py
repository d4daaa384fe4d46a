"""When an event happened, and on whose behalf: only a command's first event says so, for all of its events.

The events of one command stand contiguously in the log, so what an event lacks stands in the nearest earlier
one that has it, of its own stream or of the whole log alike. Next: `domain/history.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from domain.errors import CorruptHistoryError
from domain.events import Event


class Stimulus(Struct, frozen=True):
    """The envelope that a command's first event carries for all of its events."""

    at: datetime
    actor: str | None = None
    reason: str | None = None


class Happened(NamedTuple):
    """One event of a stream, with the envelope of its stimulus."""

    version: int
    at: datetime
    event: Event
    actor: str | None = None
    reason: str | None = None


def timed(events: Iterable[tuple[int, Event]], carried: Stimulus | None = None) -> Iterator[Happened]:
    """Gives every event, with its version, the time of the stimulus it follows from (semantics.md, law 2).

    `carried` is the stimulus before the first event, when reading begins in the middle of a command. Raises
    CorruptHistoryError when there is neither.
    """
    for version, event in events:
        if event.at is not None:
            carried = Stimulus(event.at, event.actor, event.reason)
        if carried is None:
            raise CorruptHistoryError(
                instance_id="?", version=version, problem="a consequence has no stimulus"
            )
        yield Happened(version, carried.at, event, carried.actor, event.reason or carried.reason)
