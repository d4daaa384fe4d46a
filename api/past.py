"""An instance at any version or instant of its past, from one reading of its log. What is out of range is refused.

A point of its past is a version (the number of events so far) or an instant: after the last command before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request

from api.errors import InvalidParameterError, OutOfRangeError
from api.reading import happened
from api.wiring import namespace_of, wiring_of
from domain.errors import UnknownInstanceError
from domain.evolve import evolve
from domain.history import Happened, instance_view
from domain.state import State
from domain.times import rfc3339

CLOCKS_DIFFER = timedelta(seconds=5)
"""A caller's clock may be ahead by so much: that is no question about the future."""


class Past:
    """`history` are all events of the instance so far, `at` is the time now."""

    def __init__(self, instance_id: str, history: Sequence[Happened], at: datetime) -> None:
        self.instance_id = instance_id
        self.history = history
        self.at = at

    @property
    def now(self) -> int:
        """The version that it has now."""
        return len(self.history)

    def version(self, name: str, version: int) -> int:
        """The version, if there is such. Raises OutOfRangeError, naming those that there are."""
        if not 1 <= version <= self.now:
            raise OutOfRangeError(
                name=name, value=version, instance_id=self.instance_id, first=1, last=self.now
            )
        return version

    def point(self, name: str, moment: datetime) -> int:
        """The version that it had at a moment. Raises OutOfRangeError before its first event, and of the future."""
        first = self.history[0].at
        if not first <= moment <= self.at + CLOCKS_DIFFER:
            raise OutOfRangeError(
                name=name,
                value=rfc3339(moment),
                instance_id=self.instance_id,
                first=rfc3339(first),
                last=rfc3339(self.at),
            )
        return sum(1 for one in self.history if one.at <= moment)

    def named(self, name: str, text: str) -> int:
        """The version that a text names: a number, or an instant in RFC 3339. Raises InvalidParameterError, too."""
        if text.isascii() and text.isdecimal() and len(text) <= 18:
            return self.version(name, int(text))
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            expected = "a version (7) or a time (2026-11-23T12:00:00Z)"
            raise InvalidParameterError(
                place="query", name=name, value=text[:100], expected=expected
            ) from None
        check_zone(name, moment)
        return self.point(name, moment)

    def state(self, version: int) -> State:
        state = State(id=self.instance_id)
        for one in self.history[:version]:
            evolve(state, one.event)
        return state

    def view(self, version: int) -> dict[str, Any]:
        """The Instance of the wire, as it was."""
        return instance_view(self.state(version), self.history[:version])


async def past_of(request: Request, instance_id: str) -> Past:
    """Raises UnknownInstanceError, also for an instance of another namespace than the caller's."""
    wiring = wiring_of(request)
    past = Past(instance_id, happened(await wiring.engine.history(instance_id)), wiring.clock.now())
    if past.state(1).namespace != namespace_of(request):
        raise UnknownInstanceError(instance_id=instance_id)
    return past


def check_zone(name: str, moment: datetime) -> None:
    """A time without a zone is nobody's."""
    if moment.tzinfo is None:
        raise InvalidParameterError(
            place="query", name=name, value=moment.isoformat(), expected="a time with its zone"
        )
