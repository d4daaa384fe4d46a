"""When new work is refused: while more is in motion than turns can be kept short with, and only then."""

from __future__ import annotations

import pytest

from engine.errors import OverloadedError
from engine.pressure import AT_FIRST, COME_AGAIN, FEWEST, LONGEST, MANY, MOMENT, Pressure

CALM = 0.004
"""Seconds of a turn with little to do."""


def started(pressure: Pressure, count: int, at: float = 0.0) -> None:
    for _ in range(count):
        pressure.starts()
        pressure.started()
    pressure.moves(map(str, range(count)), at)


def refuses(pressure: Pressure, at: float = 0.0) -> bool:
    try:
        pressure.check(at)
    except OverloadedError:
        return True
    return False


def room(pressure: Pressure, at: float) -> int:
    """How many starts are accepted at once."""
    accepted = 0
    while not refuses(pressure, at):
        pressure.starts()
        accepted += 1
    for _ in range(accepted):
        pressure.started()
    return accepted


def turns(pressure: Pressure, count: int, seconds: float, *, moving: int) -> float:
    """So many turns, with as many instances in motion; → the time at their end."""
    for number in range(count):
        pressure.moves(map(str, range(moving)), number * seconds)
        pressure.turned(1, seconds, number * seconds)
    return count * seconds


def test_a_burst_is_cut_where_it_begins() -> None:
    pressure = Pressure()
    for _ in range(AT_FIRST):
        pressure.check(0.0)
        pressure.starts()
    with pytest.raises(OverloadedError) as refused:
        pressure.check(0.0)
    assert refused.value.details == {"moving": AT_FIRST, "retry_after": COME_AGAIN}


def test_what_has_not_moved_for_a_moment_is_no_load() -> None:
    pressure = Pressure()
    started(pressure, 10 * AT_FIRST)
    assert refuses(pressure, MOMENT / 2)
    assert not refuses(pressure, MOMENT)


def test_what_has_ended_is_no_load() -> None:
    pressure = Pressure()
    started(pressure, AT_FIRST)
    pressure.ends("0")
    assert not refuses(pressure)


def test_long_turns_leave_room_for_fewer_but_never_for_none() -> None:
    pressure = Pressure()
    turns(pressure, 10, CALM, moving=FEWEST // 2)
    end = turns(pressure, 500, CALM + 2 * LONGEST, moving=2 * AT_FIRST)
    assert room(pressure, end + MOMENT) == FEWEST


def test_short_turns_leave_room_for_more_when_it_is_wanted() -> None:
    pressure = Pressure()
    end = turns(pressure, 100, CALM, moving=AT_FIRST)
    assert room(pressure, end + MOMENT) > 2 * AT_FIRST
    idle = Pressure()
    end = turns(idle, 100, CALM, moving=1)
    assert room(idle, end + MOMENT) == AT_FIRST


def test_a_slow_database_is_no_overload() -> None:
    pressure = Pressure()
    end = turns(pressure, 200, 20 * LONGEST, moving=AT_FIRST)
    assert room(pressure, end + MOMENT) > AT_FIRST


def test_a_database_that_becomes_slow_is_soon_taken_for_what_it_is() -> None:
    pressure = Pressure()
    turns(pressure, 10, CALM, moving=1)
    turns(pressure, 1000, 20 * LONGEST, moving=1)
    end = turns(pressure, 200, 20 * LONGEST, moving=AT_FIRST)
    assert room(pressure, end + MOMENT) >= AT_FIRST


def test_it_recovers_by_itself() -> None:
    pressure = Pressure()
    turns(pressure, 10, CALM, moving=1)
    end = turns(pressure, 500, CALM + 2 * LONGEST, moving=2 * AT_FIRST)
    narrow = room(pressure, end + MOMENT)
    end = turns(pressure, 100, CALM, moving=narrow)
    assert room(pressure, end + MOMENT) > 2 * narrow


def test_after_a_turn_of_many_commands_the_next_one_is_worth_waiting_for() -> None:
    pressure = Pressure()
    busy = []
    for commands in (1, MANY, MANY - 1):
        pressure.turned(commands, 0.001, 1.0)
        busy.append(pressure.busy)
    assert busy == [False, True, False]


def test_while_starts_are_refused_no_turn_waits() -> None:
    pressure = Pressure()
    pressure.turned(MANY, 0.001, 1.0)
    for _ in range(AT_FIRST):
        pressure.starts()
    with pytest.raises(OverloadedError):
        pressure.check(1.0)
    assert not pressure.busy
