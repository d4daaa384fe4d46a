"""How a moment is written: RFC 3339 in UTC, always with microseconds and `Z`, so that texts sort as times do.

Knows no clock. What time it is, the engine knows (`engine/clock.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

MILLISECOND = timedelta(milliseconds=1)


@lru_cache(maxsize=1024)
def rfc3339(moment: datetime) -> str:
    """`2026-11-23T11:55:00.000000Z`. Raises ValueError for a naive time: nobody knows which moment it is."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"


def milliseconds_between(start: str, end: str) -> int:
    """From one RFC 3339 time to another, rounded."""
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() * 1000)
