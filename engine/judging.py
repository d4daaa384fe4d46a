"""What-if over stored histories: reads them, and asks `domain/whatif` about each. Blocking, for a process of its own.

judge(dsn, schema, streams, document, at) -> [Judged]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from msgspec import Struct

from domain.codec import decode
from domain.definition.parse import load_program
from domain.errors import CorruptHistoryError, UnknownDefinitionError
from domain.events import Event, InstanceStarted
from domain.moves import Migrated
from domain.whatif import Verdict, Wording, what_if
from engine.documents import Documents
from engine.store.reading import Reader, Row


class Judged(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One instance. `problem`: why its history cannot be judged."""

    instance: str
    version: str
    events: int
    verdict: Verdict | None = None
    problem: str | None = None


def judge(dsn: str, schema: str, streams: Sequence[str], document: bytes, at: datetime) -> list[Judged]:
    """`document` is the new definition as JSON. Raises StoreUnavailableError."""
    now_is = _wording(document)
    with Reader(dsn, schema) as reader, reader.moment() as moment:
        words = _Words(Documents(reader))
        return [_judged(stream, rows, words, now_is, at) for stream, rows in moment.histories(streams)]


@lru_cache(maxsize=4)
def _wording(document: bytes) -> Wording:
    tree = msgspec.json.decode(document)
    return Wording.of(tree, load_program(tree, "what-if", "what-if"))


class _Words:
    """Of each deployed version, once."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._known: dict[tuple[str, str, str], Wording] = {}

    def of(self, started: InstanceStarted, version: str | None = None) -> Wording:
        """Of the version that it began on, or another one of the same definition."""
        key = (started.namespace, started.definition, version or started.version)
        if key not in self._known:
            self._known[key] = Wording.of(*self._documents.find(*key))
        return self._known[key]


def _judged(stream: str, rows: Iterable[Row], words: _Words, now_is: Wording, at: datetime) -> Judged:
    version, count = "?", 0
    try:
        events = []
        for _, at_version, topic, payload in rows:
            count += 1
            _follows(stream, at_version, count)
            events.append(decode(topic, payload))
        started = _start(stream, events[0])
        version = started.version
        moved_to = {
            event.to_version: words.of(started, event.to_version)
            for event in events
            if isinstance(event, Migrated)
        }
        verdict = what_if(events, words.of(started), now_is, at, moved_to=moved_to)
    except (CorruptHistoryError, UnknownDefinitionError) as error:
        return Judged(instance=stream, version=version, events=count, problem=str(error))
    except Exception as error:  # noqa: BLE001 - a fault of ours in one history must not hide the verdicts on the others
        return Judged(
            instance=stream, version=version, events=count, problem=f"a fault inside Tenuto: {error!r}"
        )
    return Judged(instance=stream, version=version, events=count, verdict=verdict)


def _follows(stream: str, version: int, expected: int) -> None:
    if version != expected:
        problem = f"it stands where {expected} should"
        raise CorruptHistoryError(instance_id=stream, version=version, problem=problem)


def _start(stream: str, first: Event) -> InstanceStarted:
    if not isinstance(first, InstanceStarted):
        raise CorruptHistoryError(instance_id=stream, version=1, problem="it does not begin with a start")
    return first
