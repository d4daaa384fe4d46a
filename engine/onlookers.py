"""Who waits for an instance's end, and what was committed of it here meanwhile.

A start that waits for its result would else read back from the log what has just gone by. Another server may have
committed some of it: then there is a hole, and the log is read after all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator

from domain.events import Event
from domain.state import State
from engine.draft import Decided


class Onlooker:
    """`ended` is done once the end has been seen here; `state` is the instance's, then."""

    __slots__ = ("_events", "_whole", "ended", "state")

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.state: State | None = None
        self._events: list[Event] = []
        self._whole = True

    def saw(self, item: Decided) -> None:
        self._events += item.events
        self._whole = self._whole and len(self._events) == item.version

    def saw_end(self, state: State) -> None:
        self.state = state
        if not self.ended.done():
            self.ended.set_result(None)

    @property
    def history(self) -> list[Event] | None:
        """All that happened to the instance up to `state`; None where that was not seen here as a whole."""
        return self._events[: self.state.version] if self.state is not None and self._whole else None


class Onlookers:
    """By the instance that they look at."""

    def __init__(self) -> None:
        self._by_instance: dict[str, list[Onlooker]] = {}

    @contextlib.contextmanager
    def of(self, instance: str) -> Iterator[Onlooker]:
        onlooker = Onlooker()
        self._by_instance.setdefault(instance, []).append(onlooker)
        try:
            yield onlooker
        finally:
            present = self._by_instance[instance]
            present.remove(onlooker)
            if not present:
                del self._by_instance[instance]

    def saw(self, decided: Iterable[Decided]) -> None:
        """What a commit holds, in its order."""
        if self._by_instance:
            for item in decided:
                if item.events:
                    for onlooker in self._by_instance.get(item.request.stream, ()):
                        onlooker.saw(item)

    def saw_end(self, state: State) -> None:
        """The state is theirs: the engine has no more use for that of an instance that has ended."""
        for onlooker in self._by_instance.get(state.id, ()):
            onlooker.saw_end(state)
