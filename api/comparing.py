"""Where two JSON values differ, for people: the path, and what stands on either side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
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
