"""The live feed: each consumer reads the log from its own position, as fast as it takes what it is given.

Nothing is kept for a consumer but its position and its filter, so one that hangs slows nobody. How it is told, the API
knows (`api/event_stream.py`). Next: `tail.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from feeds.errors import TooManyConsumersError, TooManyConsumersOfOneError, UnknownPositionError
from feeds.messages import Filter
from feeds.tail import Slice, Tail

MAX_CONSUMERS = 4_000
"""At one server."""
MAX_CONSUMERS_OF_ONE = 2_000
"""At one server, of one namespace."""
RETRY_AFTER_S = 5


class Subscription:
    """One consumer. `position` is up to where it has been told everything that it wants."""

    def __init__(self, tail: Tail, filter: Filter, position: int) -> None:
        self.filter = filter
        self.position = position
        self._tail = tail

    async def next(self) -> Slice:
        """The next events that it wants, in order; perhaps none, when others have moved it on."""
        await self._tail.beyond(self.position)
        found = await self._tail.read(self.position)
        self.position = found.position
        return Slice(self.filter.chosen(found.messages), found.position)


class Feed:
    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._consumers: Counter[str] = Counter()

    @property
    def consumers(self) -> int:
        return self._consumers.total()

    @asynccontextmanager
    async def subscribe(self, filter: Filter, after: int | None) -> AsyncIterator[Subscription]:
        """From the event after that position on, or from now on. Raises TooManyConsumersError,
        TooManyConsumersOfOneError or UnknownPositionError."""
        self._admit(filter.namespace)
        try:
            head = await self._tail.log.head()
            if after is not None and after > head:
                raise UnknownPositionError(position=after, head=head)
            yield Subscription(self._tail, filter, head if after is None else after)
        finally:
            self._consumers[filter.namespace] -= 1
            self._consumers += Counter()  # Forgets namespaces that have none.

    def _admit(self, namespace: str) -> None:
        if self.consumers >= MAX_CONSUMERS:
            raise TooManyConsumersError(limit=MAX_CONSUMERS, retry_after=RETRY_AFTER_S)
        if self._consumers[namespace] >= MAX_CONSUMERS_OF_ONE:
            raise TooManyConsumersOfOneError(
                namespace=namespace, limit=MAX_CONSUMERS_OF_ONE, retry_after=RETRY_AFTER_S
            )
        self._consumers[namespace] += 1
