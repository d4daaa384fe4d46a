"""How much is in motion, so that the loop can say no in time.

New work is the first to be refused, and early: whoever starts an instance may come again, while those under way have
results that must go in. So what was accepted stays quick, and a flood costs little more than saying no to it.

What counts are instances in motion: started and not stored yet, or stored a moment ago; what waits for the world, for
a slow service, or for a worker that does not come, is no load. How many there may be is found out as the network finds
out its windows: more while turns are short, fewer while they are long. What a turn takes however little there is to do
is left out: a slow database is no overload, and refusing would not make it quicker.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.errors import OverloadedError

LONGEST = 0.005
"""Seconds that a turn may take, beyond what it takes when there is little to do."""
FEWEST = 64
"""So many may be in motion in any case …"""
AT_FIRST = 96
"""… and so many before anything is known."""
MOMENT = 0.25
"""Seconds after its last commit for which an instance is in motion."""
LESS, MORE, SLOWLY = 0.97, 1.03, 1.003
"""What becomes of the limit with each turn that is too long, less than half as long, or in between."""
FORGETTING = 0.01
"""How fast the shortest turn is forgotten, with each calm one: a disk may become slower for good."""
MANY = 8
"""Commands in one turn: then more are on their way."""
COME_AGAIN = 1
"""Seconds: what is refused now finds another moment then."""


class Pressure:
    """Times are those of a monotonic clock, in seconds."""

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        self._shortest = 0.0
        self._limit = float(AT_FIRST)
        self._commands = 0
        self._refused = False
        self._starting = 0
        self._moved: dict[str, float] = {}  # The one that moved last stands last.

    def starts(self) -> None:
        """A start is accepted."""
        self._starting += 1

    def started(self, _: object = None) -> None:
        """It is stored, or refused."""
        self._starting -= 1

    def moves(self, instances: Iterable[str], now: float) -> None:
        """Something of them is stored."""
        for instance in instances:
            self._moved.pop(instance, None)
            self._moved[instance] = now

    def ends(self, instance: str) -> None:
        self._moved.pop(instance, None)

    @property
    def busy(self) -> bool:
        """Whether waiting a little before the next turn makes it one of many commands.

        Not while starts are refused: what was accepted is late enough then.
        """
        return self._commands >= MANY and not self._refused

    def turned(self, commands: int, seconds: float, now: float) -> None:
        """A turn of so many commands took so long."""
        self._commands = commands
        moving = self._moving(now)
        if not self._shortest or seconds < self._shortest:
            self._shortest = seconds
        elif moving <= FEWEST:
            self._shortest += FORGETTING * (seconds - self._shortest)
        longer = seconds - self._shortest
        if longer > self._longest:
            self._limit = max(self._limit * LESS, FEWEST)
        elif moving > self._limit / 2:
            self._limit *= MORE if longer < self._longest / 2 else SLOWLY

    def check(self, now: float) -> None:
        """Raises OverloadedError when new work should come later. Cheap."""
        moving = self._moving(now)
        self._refused = moving >= self._limit
        if self._refused:
            raise OverloadedError(moving=moving, retry_after=COME_AGAIN)

    def _moving(self, now: float) -> int:
        while self._moved:
            oldest = next(iter(self._moved))
            if self._moved[oldest] > now - MOMENT:
                break
            del self._moved[oldest]
        return len(self._moved) + self._starting
