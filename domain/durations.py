"""Durations as people write them, in whole milliseconds inside (wire.md, *Durations*).

One number and one unit (`100ms`, `1.5h`), or ISO 8601 without years and months (`PT1H30M`, `P2W`), because
those two have no fixed length. Knows no clock: what a duration counts from is decided elsewhere.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Final

from domain.errors import DurationError, LimitExceededError
from domain.limits import MAX_DURATION_MS

_UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_SHORT: Final = re.compile(rf"({_NUMBER})(ms|s|m|h|d)")
_ISO: Final = re.compile(
    rf"P(?!$)(?:({_NUMBER})W)?(?:({_NUMBER})D)?(?:T(?=[0-9])(?:({_NUMBER})H)?(?:({_NUMBER})M)?(?:({_NUMBER})S)?)?"
)
_ISO_UNITS: Final = (7 * _UNITS["d"], _UNITS["d"], _UNITS["h"], _UNITS["m"], _UNITS["s"])
_MAX_TEXT: Final = 40


def parse_duration(text: str) -> int:
    """Return the milliseconds that `text` stands for, rounded up, so that a positive wait is never zero.

    Raises DurationError for anything but the two forms (a bare number, a sign, a second unit, a year), and
    LimitExceededError beyond ten years.
    """
    if type(text) is not str or len(text) > _MAX_TEXT:
        raise DurationError(text=text)
    return _milliseconds(text)


@lru_cache(maxsize=1024)
def _milliseconds(text: str) -> int:
    """A server reads the same few again and again."""
    if short := _SHORT.fullmatch(text):
        exact = Decimal(short[1]) * _UNITS[short[2]]
    elif iso := _ISO.fullmatch(text):
        parts = zip(iso.groups(default="0"), _ISO_UNITS, strict=True)
        exact = sum((Decimal(number) * unit for number, unit in parts), Decimal(0))
    else:
        raise DurationError(text=text)
    if exact > MAX_DURATION_MS:
        raise LimitExceededError(subject=f"Duration {text!r}", actual=exact, limit=MAX_DURATION_MS, unit="ms")
    return int(exact.to_integral_value(ROUND_CEILING))


def format_duration(ms: int) -> str:
    """Write `ms` (0 or more) in the largest unit that divides it: 5400000 is `90m`.

    `parse_duration` reads it back as the same number. Raises DurationError for a negative one.
    """
    if ms < 0:
        raise DurationError(text=f"{ms}ms")
    if ms == 0:
        return "0s"
    unit = next(name for name in ("d", "h", "m", "s", "ms") if ms % _UNITS[name] == 0)
    return f"{ms // _UNITS[unit]}{unit}"
