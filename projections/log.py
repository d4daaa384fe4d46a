"""Reading the event log in its order, as every projection does: by position, in batches of bounded size.

`position > last ORDER BY position` misses nothing, because appends are serialised and no gap is ever filled
later (docs: one lock per append). Refuses to skip: an event that this release cannot read ends the batch
before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import msgspec
from psycopg import Cursor

from domain import codec
from domain.errors import CorruptHistoryError, TenutoError
from domain.events import Event
from domain.happened import Happened, Stimulus
from projections.statements import Statements

BATCH_EVENTS = 4000
"""Larger ones are hardly quicker, and keep the loop beside them from its turn for longer."""
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Of payloads; one event is always read, however large."""

Row = tuple[int, str, int, str, bytes]

# PostgreSQL has no NUL in text or jsonb. Borders refuse it; what got through all the same must stop nothing.
_NUL = b"\\u0000"
_NUL_ESCAPE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")

_envelope = msgspec.json.Decoder(Event)


class UnreadableEventError(TenutoError):
    """Event {position} of the log, {topic} of {stream!r} version {version}, cannot be read: {problem}"""


class Logged(NamedTuple):
    """One event at its place in the log. Of topics that nobody asked for, `event` is a bare envelope."""

    position: int
    stream: str
    happened: Happened


class Batch(NamedTuple):
    """`events` up to `position`, the stimulus that the next one may follow from, and what stopped the
    reading."""

    events: list[Logged]
    position: int
    stimulus: Stimulus | None
    problem: UnreadableEventError | None

    def holds(self, wanted: AbstractSet[str]) -> bool:
        """Whether any of its events has one of these topics."""
        return not wanted.isdisjoint({type(logged.happened.event).__name__ for logged in self.events})


def read(
    cursor: Cursor[Any],
    statements: Statements,
    wanted: AbstractSet[str],
    *,
    after: int,
    upto: int | None,
    limit: int,
    stimulus: Stimulus | None,
) -> Batch:
    """The events after position `after`, at most `limit` of them, with the time each of them happened."""
    cursor.execute(
        statements["read"], {"after": after, "upto": upto, "limit": limit, "bytes": MAX_BATCH_BYTES}
    )
    return _batch(cursor.fetchall(), wanted, after, stimulus)


def _batch(rows: Iterable[Row], wanted: AbstractSet[str], after: int, stimulus: Stimulus | None) -> Batch:
    """Times as `domain.happened.timed` gives them, without its generator: this runs for every event there is."""
    events: list[Logged] = []
    position = after
    for row in rows:
        at, stream, version, topic, payload = row
        try:
            event = decode(topic, payload, wanted)
        except CorruptHistoryError as error:
            return Batch(events, position, stimulus, _unreadable(row, error.details["problem"]))
        if event.at is not None:
            stimulus = Stimulus(event.at, event.actor, event.reason)
        elif stimulus is None:
            return Batch(events, position, stimulus, _unreadable(row, "a consequence has no stimulus"))
        reason = event.reason or stimulus.reason
        events.append(Logged(at, stream, Happened(version, stimulus.at, event, stimulus.actor, reason)))
        position = at
    return Batch(events, position, stimulus, None)


def _unreadable(row: Row, problem: object) -> UnreadableEventError:
    position, stream, version, topic, _ = row
    return UnreadableEventError(
        position=position, topic=topic, stream=stream, version=version, problem=problem
    )


def decode(topic: str, payload: bytes, wanted: AbstractSet[str]) -> Event:
    """The event if its topic is wanted, else its envelope. Raises CorruptHistoryError for an unknown topic,
    too."""
    if _NUL in payload:
        payload = _NUL_ESCAPE.sub(rb"\1\\ufffd", payload)
    name = topic.partition("@")[0] if "@" in topic else topic
    if name in wanted or not (topic in codec.TOPICS or topic in codec.UPCASTS):
        return codec.decode(topic, payload)
    try:
        return _envelope.decode(payload)
    except msgspec.MsgspecError as error:
        raise CorruptHistoryError(instance_id="?", version="?", problem=f"{topic}: {error}") from error
