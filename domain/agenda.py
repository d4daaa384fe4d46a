"""What one command has still to enter: first come, first served, and known by the scope that it stands in.

A scope asks what is about to be entered in it, and drops all of it when it closes; neither looks at the rest.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Entry(NamedTuple):
    """A step about to be entered, in a block of `scope`. `item` is the block's index, when the scope is a map."""

    step: str
    scope: str = ""
    item: str | None = None


class Agenda:
    """Entries in order. A block is at one step at a time, so no entry is ever in it twice."""

    __slots__ = ("_by_scope", "_entries")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._by_scope: dict[str, set[Entry]] = {}

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._by_scope.setdefault(entry.scope, set()).add(entry)

    def take(self) -> Entry | None:
        """The next one; None when there is none left."""
        while self._entries:
            entry = self._entries.popleft()
            inside = self._by_scope.get(entry.scope)
            if inside and entry in inside:  # Else its scope was dropped meanwhile.
                inside.remove(entry)
                return entry
        return None

    def inside(self, scope: str) -> set[Entry]:
        """What is about to be entered directly in the scope; not to be changed."""
        return self._by_scope.get(scope, set())

    def drop(self, scope: str) -> None:
        """Nothing is entered directly in the scope any more."""
        self._by_scope.pop(scope, None)

    def clear(self) -> None:
        self._entries.clear()
        self._by_scope.clear()
