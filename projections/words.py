"""The projection `words`: the words that an instance was born with, for the search by text.

They are those of its id, its correlation id, its labels and the texts of its input, in lower case and cut at whatever
is no letter, digit or underscore. What changes later is not searched: a row is written once, and costs
its index one insertion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from psycopg import Cursor, sql

from domain.events import InstanceStarted, Json
from projections.log import Logged
from projections.statements import Statements, load

MAX_WORDS = 200
"""Of one instance: those after them are not found."""
LONGEST_WORD = 64
MAX_TEXT = 10_000
"""Characters of one text that are looked at."""

_WORD = re.compile(r"\w+")


class Words:
    """See `Projection`."""

    name = "words"
    every_event = False
    wanted = frozenset({InstanceStarted.__name__})

    def __init__(self, views: str, log: sql.Identifier) -> None:
        self.statements: Statements = load(self.name, views=views, log=log)

    def apply(self, cursor: Cursor[Any], events: Sequence[Logged]) -> None:
        rows = [
            {"id": logged.stream, "words": words_of(logged.stream, logged.happened.event)}
            for logged in events
            if isinstance(logged.happened.event, InstanceStarted)
        ]
        if rows:
            cursor.execute(self.statements["insert"], {"rows": msgspec.json.encode(rows).decode()})


def words_of(instance: str, event: InstanceStarted) -> list[str]:
    found: dict[str, None] = {}
    for text in _texts([instance, event.correlation_id, event.labels, event.input]):
        for word in words_in(text):
            if len(found) == MAX_WORDS:
                return list(found)
            found[word] = None
    return list(found)


def words_in(text: str) -> Iterator[str]:
    """As they are stored, and as a search looks for them."""
    for found in _WORD.finditer(text[:MAX_TEXT].lower()):
        yield found[0][:LONGEST_WORD]


def _texts(value: Json) -> Iterator[str]:
    """Depth first; keys are no texts. As deep as JSON may be that got in."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
