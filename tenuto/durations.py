"""Durations as the wire writes them: `<number><ms|s|m|h|d>`, one unit. The rest is left to the server."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def to_seconds(duration: float | str) -> float:
    """Seconds; a number already is. Raises ValueError for other text."""
    if not isinstance(duration, str):
        return float(duration)
    match = _PATTERN.fullmatch(duration.strip())
    if match is None:
        raise ValueError(f"{duration!r} is no duration: write a number and one unit, such as 30s, 5m or 1.5h")
    return float(match[1]) * _SECONDS[match[2]]


def to_text(duration: float | str) -> str:
    """The wire's text; a number counts seconds. Text is passed on as it is, the server judges it."""
    return duration if isinstance(duration, str) else f"{round(duration * 1000)}ms"
