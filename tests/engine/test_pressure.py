"""When new work is refused: while turns are long because there is much to do, and only then."""

from __future__ import annotations

import pytest

from engine.errors import OverloadedError
from engine.pressure import COME_AGAIN, LONGEST, MANY, Pressure


def after(turns: int, commands: int, seconds: float) -> Pressure:
    pressure = Pressure()
    for _ in range(turns):
        pressure.turned(commands, seconds)
    return pressure


def test_many_commands_in_long_turns_are_too_much() -> None:
    with pytest.raises(OverloadedError) as refused:
        after(50, 2 * MANY, 2 * LONGEST).check(waiting=1)
    assert refused.value.details["retry_after"] == COME_AGAIN


def test_short_turns_are_not_however_many_commands_they_have() -> None:
    after(50, 20 * MANY, LONGEST / 2).check(waiting=10 * MANY)


def test_a_slow_database_is_not_when_there_is_little_to_do() -> None:
    after(50, 2, 20 * LONGEST).check(waiting=2)


def test_one_slow_turn_is_not() -> None:
    pressure = after(50, MANY, LONGEST / 10)
    pressure.turned(MANY, 3 * LONGEST)
    pressure.check(waiting=1)


def test_it_recovers_by_itself() -> None:
    pressure = after(50, 10 * MANY, 10 * LONGEST)
    pressure.check(waiting=0)  # Whoever comes when nothing waits is let in, and its turn is short.
    for _ in range(50):
        pressure.turned(1, LONGEST / 10)
    pressure.check(waiting=MANY)
