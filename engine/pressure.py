"""How busy the loop is, so that it can say no in time.

New work is the first to be refused, and early: whoever starts an instance may come again, while those under way have
results that must go in. So what was accepted stays quick, and a flood costs little more than saying no to it. What
tells is the turn: under load it grows, in commands and in time, and every step of every instance waits for about two.
A long turn with few commands is a slow database, and refusing would not make it quicker.
"""

from __future__ import annotations

from engine.errors import OverloadedError

LONGEST = 0.05
"""Seconds that a turn may take, while it has many commands."""
MANY = 32
SMOOTHING = 0.2
"""The weight of the newest turn."""
COME_AGAIN = 1
"""Seconds: what is refused now finds another moment then."""


class Pressure:
    """`longest` in seconds."""

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        self._took = 0.0
        self._commands = 0.0

    def turned(self, commands: int, seconds: float) -> None:
        """A turn with so many commands took so long."""
        self._took += SMOOTHING * (seconds - self._took)
        self._commands += SMOOTHING * (commands - self._commands)

    def check(self, waiting: int) -> None:
        """Raises OverloadedError when new work should come later; nothing is refused while nothing waits. Cheap."""
        if waiting and self._took > self._longest and self._commands + waiting > MANY:
            raise OverloadedError(waiting=waiting, retry_after=COME_AGAIN)
