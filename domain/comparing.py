"""Where two JSON values differ, for people: the path, and what stands on either side.

`differences` compares two that should be the same, `changes` tells how one became the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import Any

MAX_DIFFERENCES = 100


def differences(live: Any, replayed: Any) -> list[dict[str, Any]]:
    """`[{"path", "live", "replayed"}]`, at most a hundred; a side that is absent is left out."""
    return list(islice(_compare("$", live, replayed), MAX_DIFFERENCES))


_ABSENT = object()


def _compare(path: str, live: Any, replayed: Any) -> Iterator[dict[str, Any]]:
    if isinstance(live, dict) and isinstance(replayed, dict):
        for key in dict.fromkeys([*live, *replayed]):
            yield from _compare(f"{path}.{key}", live.get(key, _ABSENT), replayed.get(key, _ABSENT))
    elif isinstance(live, list) and isinstance(replayed, list) and len(live) == len(replayed):
        for index, pair in enumerate(zip(live, replayed, strict=True)):
            yield from _compare(f"{path}[{index}]", *pair)
    elif live != replayed or type(live) is not type(replayed):
        sides = {"live": live, "replayed": replayed}
        yield {"path": path} | {name: value for name, value in sides.items() if value is not _ABSENT}


MAX_CHANGES = 1_000


def changes(before: Any, after: Any) -> tuple[list[dict[str, Any]], bool]:
    """`[{"op", "path", "before", "after"}]`, in the words of JSON Patch; and whether there are more than a thousand.

    `op` is `add` (no `before`), `remove` (no `after`) or `replace`. Lists are compared place by place: what one of
    them has more at its end was added or removed.
    """
    found = list(islice(_changes("$", before, after), MAX_CHANGES + 1))
    return found[:MAX_CHANGES], len(found) > MAX_CHANGES


def _changes(path: str, before: Any, after: Any) -> Iterator[dict[str, Any]]:
    if before is _ABSENT:
        yield {"op": "add", "path": path, "after": after}
    elif after is _ABSENT:
        yield {"op": "remove", "path": path, "before": before}
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            step = f".{key}" if _PLAIN.fullmatch(key) else f"[{key!r}]"
            yield from _changes(path + step, before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif isinstance(before, list) and isinstance(after, list):
        for index, pair in enumerate(zip_longest(before, after, fillvalue=_ABSENT)):
            yield from _changes(f"{path}[{index}]", *pair)
    elif before != after or type(before) is not type(after):
        yield {"op": "replace", "path": path, "before": before, "after": after}


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
