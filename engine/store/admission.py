"""What every store asks of a batch before it touches anything, so that all stores refuse the same.

Knows neither SQL nor the meaning of events. Next: `memory.py` and `postgres.py`, which call it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import attrgetter

from domain.errors import LimitExceededError, TenutoError
from engine.ports import Batch, OwedRow, Recorded, VersionConflictError

LONGEST_TEXT = 1_024
"""Bytes of an id, a key or a name: two of them must fit in an index entry of PostgreSQL (2,704 bytes)."""

_NUL_IN_JSON = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_OWED_TEXTS = attrgetter(
    "namespace", "instance", "key", "kind", "action", "queue", "token", "session", "signal", "correlation_key"
)
_COMMAND_TEXTS = attrgetter("namespace", "key", "body_hash", "instance")


class UnstorableTextError(TenutoError):
    """{text} cannot be stored: {problem}."""


def admit(batch: Batch) -> dict[str, int]:
    """The first new version of each stream. A store appends only if it has exactly the version before.

    Raises VersionConflictError when the versions of a stream do not count up by one within the batch;
    UnstorableTextError or LimitExceededError for text that PostgreSQL or an index of ours cannot hold.
    """
    refuse_unstorable(text for event in batch.events for text in (event.stream, event.topic))
    refuse_unstorable(text for row in batch.owe for text in _OWED_TEXTS(row))
    refuse_unstorable(text for key in batch.withdraw for text in key)
    refuse_unstorable(text for command in batch.client_commands for text in _COMMAND_TEXTS(command))
    for event in batch.events:
        if b"\\u0000" in event.payload and _NUL_IN_JSON.search(event.payload):
            subject = f"The payload of {event.stream!r} version {event.version}"
            raise UnstorableTextError(text=subject, problem="JSON in PostgreSQL has no NUL character")
    return _first_versions(batch.events)


def refuse_unstorable(texts: Iterable[str | None]) -> None:
    """Ordinary texts are cleared by looking at all of them at once."""
    present = [text for text in texts if text]
    everything = "".join(present)
    if everything.isascii() and "\0" not in everything and max(map(len, present), default=0) <= LONGEST_TEXT:
        return
    for text in present:
        if "\0" in text:
            raise UnstorableTextError(text=repr(text), problem="text in PostgreSQL has no NUL character")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise UnstorableTextError(text=ascii(text), problem="it is not Unicode") from None
        if size > LONGEST_TEXT:
            subject = f"The id, key or name {text[:40]!r}…"
            raise LimitExceededError(subject=subject, actual=size, limit=LONGEST_TEXT, unit="bytes")


def last_of_each_key(rows: Iterable[OwedRow]) -> list[OwedRow]:
    """In key order, in which every writer touches rows. Of rows under one key the last one counts."""
    by_key = {(row.instance, row.key): row for row in rows}
    return [by_key[key] for key in sorted(by_key)]


def _first_versions(events: Iterable[Recorded]) -> dict[str, int]:
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for event in events:
        stream, version = event.stream, event.version
        if last.get(stream, version - 1) != version - 1 or version < 1:
            raise VersionConflictError(streams=[stream])
        last[stream] = version
        first.setdefault(stream, version)
    return first
