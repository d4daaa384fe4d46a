"""How much one command may do at once: it holds up the loop that serves everybody, and a map multiplies whatever its
steps cost. Beyond a bound the instance fails with a type, by what it had written until then.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from domain.agenda import Entry
from domain.codec import encode
from domain.errors import EndlessLoopError, LimitExceededError, TenutoError
from domain.events import Event, Json
from domain.expressions.costs import values_below
from domain.expressions.paths import Key
from domain.limits import (
    MAX_COMMAND_BYTES,
    MAX_COMMAND_LOOKS,
    MAX_ENTRIES,
    MAX_ENTRIES_IN_ALL,
    UNWEIGHED_EVENTS,
    UNWEIGHED_LOOKS,
)

if TYPE_CHECKING:
    from domain.steps.step import Step


class Bounds:
    """Of one command. The first of what it writes and looks through is not weighed: most commands do no more."""

    __slots__ = ("_below", "_bytes", "_entered", "_entered_in_all", "_events", "_looked", "_lookers")

    def __init__(self) -> None:
        self._events = 0
        self._bytes = 0
        self._entered: Counter[tuple[str, str | None]] = Counter()
        self._entered_in_all = 0
        self._lookers = 0
        self._looked = 0
        self._below: dict[tuple[Key, ...], int] = {}  # Values, by the place in the data.

    def writes(self, event: Event) -> None:
        self._events += 1
        if self._events > UNWEIGHED_EVENTS:
            self._bytes += len(encode(event))

    def enters(self, entry: Entry, step: Step, data: dict[str, Json]) -> TenutoError | None:
        """What is wrong when the command enters this step too: it would never end, or take too long."""
        block = (entry.scope, entry.item)
        self._entered[block] += 1
        self._entered_in_all += 1
        if step.looks:
            self._look(step, data)
        if self._entered[block] > MAX_ENTRIES:
            return EndlessLoopError(step=entry.step, limit=MAX_ENTRIES)
        if self._entered_in_all > MAX_ENTRIES_IN_ALL:
            subject = "the number of steps that one command enters"
            return _beyond(subject, self._entered_in_all, MAX_ENTRIES_IN_ALL, "steps")
        if self._bytes > MAX_COMMAND_BYTES:
            return _beyond("what one command writes", self._bytes, MAX_COMMAND_BYTES, "bytes")
        if self._looked > MAX_COMMAND_LOOKS:
            subject = "what the conditions of one command look through"
            return _beyond(subject, self._looked, MAX_COMMAND_LOOKS, "values")
        return None

    def _look(self, step: Step, data: dict[str, Json]) -> None:
        """A list counts as it was when it was asked first: counting costs about as much as looking."""
        self._lookers += 1
        if self._lookers <= UNWEIGHED_LOOKS:
            return
        for look in step.looks:
            if look.stem not in self._below:
                self._below[look.stem] = values_below(data, look.stem)
            self._looked += look.times * self._below[look.stem]


def _beyond(subject: str, actual: int, limit: int, unit: str) -> LimitExceededError:
    return LimitExceededError(subject=subject, actual=actual, limit=limit, unit=unit)
