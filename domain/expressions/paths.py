"""Walking one path through JSON data: the fast heart of every expression, and the word for "nothing there".

`MISSING` is RFC 9535's *Nothing*: no value, not even null. A path never raises; whoever calls decides whether
missing is an error (a task's input) or an answer (a condition). Data is read, never copied and never changed.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, Protocol


class Missing(Enum):
    """The type of `MISSING`, an enum so that type checkers can tell it from JSON."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING

Key = str | int


class Getter(Protocol):
    """Yields one JSON value or MISSING. `root` is `$`; `current` is `@`, which only filters have."""

    def __call__(self, root: Any, current: Any = None, /) -> Any: ...


class Predicate(Protocol):
    """A compiled logical expression. It never raises, whatever the data."""

    def __call__(self, root: Any, current: Any = None, /) -> bool: ...


class Nodes(Protocol):
    """A compiled query: the values it selects, in RFC 9535's order."""

    def __call__(self, root: Any, current: Any = None, /) -> list[Any]: ...


def whole(root: Any) -> Any:
    """Return `$` itself, a ChainMap flattened: everything but the lookup of a name expects plain JSON."""
    return dict(root) if isinstance(root, ChainMap) else root


def root_getter(keys: Sequence[Key]) -> Getter:
    """Return the getter for `$` followed by `keys`; one to three names, the usual case, cost no loop.

    Looking a name up in a list, text, number or null raises TypeError and in an object KeyError: both mean
    missing. An index into text would answer with a character, so paths with an index take the careful way.
    """
    names = [key for key in keys if isinstance(key, str)]
    if len(names) != len(keys) or not 1 <= len(names) <= 3:
        walk = _walker(tuple(keys))
        return lambda root, current=None: walk(whole(root)) if not names else walk(root)
    if len(names) == 1:
        return _one(*names)
    return _two(*names) if len(names) == 2 else _three(*names)


def current_getter(keys: Sequence[Key]) -> Getter:
    """Return the getter for `@` followed by `keys`."""
    walk = _walker(tuple(keys))
    return lambda root, current=None: walk(current)


def _one(first: str) -> Getter:
    def get(root: Any, current: Any = None) -> Any:
        try:
            return root[first]
        except (KeyError, TypeError):
            return MISSING

    return get


def _two(first: str, second: str) -> Getter:
    def get(root: Any, current: Any = None) -> Any:
        try:
            return root[first][second]
        except (KeyError, TypeError):
            return MISSING

    return get


def _three(first: str, second: str, third: str) -> Getter:
    def get(root: Any, current: Any = None) -> Any:
        try:
            return root[first][second][third]
        except (KeyError, TypeError):
            return MISSING

    return get


def _walker(keys: tuple[Key, ...]) -> Any:
    def walk(value: Any) -> Any:
        try:
            for key in keys:
                if type(key) is int and type(value) is not list:
                    return MISSING
                value = value[key]
        except (KeyError, IndexError, TypeError):
            return MISSING
        return value

    return walk
