"""Alarms: what comes first, what replaces what, and that forgotten ones cost nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from engine.alarms import COMPACT_ABOVE, HORIZON, Alarms
from engine.ports import OwedRow
from tests.engine.world import NOON


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def wake(key: str, seconds: float) -> OwedRow:
    return OwedRow(namespace="default", instance="0-1", key=key, kind="wake", timer_at=after(seconds))


def invoke(key: str, due: float, timer: float | None = None) -> OwedRow:
    return OwedRow(
        namespace="default",
        instance="0-1",
        key=key,
        kind="invoke",
        queue="q",
        due_at=after(due),
        timer_at=None if timer is None else after(timer),
    )


def due(alarms: Alarms, seconds: float) -> list[tuple[str, str]]:
    return [(what, row.key) for what, row in alarms.due(after(seconds))]


def test_they_come_in_order_and_never_early() -> None:
    alarms = Alarms()
    for key, seconds in (("c", 3), ("a", 1), ("b", 2)):
        alarms.arm(wake(key, seconds), NOON)
    assert due(alarms, 0.999) == []
    assert due(alarms, 2) == [("timer", "a"), ("timer", "b")]
    assert alarms.next_at() == after(3)
    assert due(alarms, 9) == [("timer", "c")]
    assert alarms.next_at() is None


def test_a_task_that_is_not_due_yet_has_two() -> None:
    alarms = Alarms()
    alarms.arm(invoke("a", due=1, timer=5), NOON)
    assert due(alarms, 9) == [("ready", "a"), ("timer", "a")]


def test_a_new_row_takes_the_place_of_the_old_one_and_a_withdrawn_one_is_silent() -> None:
    alarms = Alarms()
    alarms.arm(wake("a", 1), NOON)
    alarms.arm(wake("a", 5), NOON)
    alarms.arm(wake("b", 1), NOON)
    alarms.disarm(("0-1", "b"))
    assert due(alarms, 4) == []
    assert due(alarms, 5) == [("timer", "a")]
    assert due(alarms, 5) == []


def test_what_lies_beyond_the_horizon_is_left_to_the_scan() -> None:
    alarms = Alarms()
    alarms.arm(wake("a", HORIZON.total_seconds() + 1), NOON)
    assert alarms.next_at() is None


def test_it_says_when_something_earlier_has_come() -> None:
    alarms = Alarms()
    alarms.arm(wake("a", 5), NOON)
    assert alarms.earlier.is_set()
    alarms.earlier.clear()
    alarms.arm(wake("b", 6), NOON)
    assert not alarms.earlier.is_set()
    alarms.again(wake("c", 9), after(1))
    assert alarms.earlier.is_set()


def test_forgotten_alarms_are_thrown_away() -> None:
    alarms = Alarms()
    for number in range(5 * COMPACT_ABOVE):
        alarms.arm(wake("a", 1 + number % 7), NOON)
    assert len(alarms._heap) <= COMPACT_ABOVE + 1
    assert len(due(alarms, 60)) == 1
