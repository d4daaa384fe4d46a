"""The clocks: the database's time told by a process's own, and a time that passes only when a test says
so."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from engine.clock import ManualClock, SystemClock
from engine.ports import Clock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Ahead:
    """A database whose clock is ahead of this machine's by some days; its first answers take their time."""

    def __init__(self, days: float, *, slow_answers: int = 0) -> None:
        self.by = timedelta(days=days)
        self.slow_answers = slow_answers

    async def now(self) -> datetime:
        told = datetime.now(UTC) + self.by
        if self.slow_answers:
            self.slow_answers -= 1
            await asyncio.sleep(0.05)
        return told


async def test_the_system_clock_tells_the_databases_time() -> None:
    store = Ahead(days=3)
    clock = await SystemClock.measured(store)
    assert abs(clock.now() - await store.now()) < timedelta(milliseconds=20)
    assert clock.now().tzinfo is UTC


async def test_slow_answers_do_not_spoil_the_measurement() -> None:
    store = Ahead(days=3, slow_answers=4)
    clock = await SystemClock.measured(store)
    assert abs(clock.now() - (datetime.now(UTC) + store.by)) < timedelta(milliseconds=15)


async def test_synchronising_follows_another_database() -> None:
    clock = await SystemClock.measured(Ahead(days=3))
    await clock.synchronise(Ahead(days=-1))
    assert abs(clock.now() - (datetime.now(UTC) - timedelta(days=1))) < timedelta(milliseconds=20)


async def test_the_system_clock_goes_on_and_sleeps() -> None:
    clock: Clock = SystemClock(0)
    before, start = clock.now(), time.monotonic()
    await clock.sleep(0.01)
    assert time.monotonic() - start >= 0.009
    assert clock.now() - before >= timedelta(milliseconds=9)
    assert clock.monotonic() >= start


def test_ids_are_unique_ordered_uuids_of_version_7() -> None:
    clock = SystemClock(1_700_000_000_000_000)
    before = clock.now()
    ids = [clock.new_id() for _ in range(20_000)]  # more than a few milliseconds can number
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    made = uuid.UUID(ids[0])
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert abs((made.int >> 80) - before.timestamp() * 1000) < 50


def test_ids_of_two_processes_differ_in_the_same_millisecond() -> None:
    ids = {SystemClock(0).new_id() for _ in range(1_000)}
    assert len(ids) == 1_000


def test_chance_is_between_zero_and_one() -> None:
    drawn = {SystemClock(0).entropy() for _ in range(100)}
    assert len(drawn) > 90
    assert all(0 <= number < 1 for number in drawn)


def test_the_manual_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(NOON)
    assert (clock.now(), clock.monotonic()) == (NOON, 0)
    clock.advance(1.5)
    clock.advance(timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1, seconds=1.5)
    assert clock.monotonic() == 3601.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


async def test_sleepers_wake_when_their_time_has_come_in_its_order() -> None:
    clock = ManualClock(NOON)
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(sleeper(*each)) for each in (("b", 2), ("a", 1), ("c", 2), ("never", 9))]
    cancelled = asyncio.create_task(sleeper("cancelled", 1))
    await asyncio.sleep(0)
    assert clock.next_waking == NOON + timedelta(seconds=1)
    cancelled.cancel()
    clock.advance(0.999)
    await asyncio.sleep(0)
    assert woken == []
    clock.advance(1.001)
    await asyncio.gather(*tasks[:3])
    assert woken == ["a", "b", "c"]
    assert clock.next_waking == NOON + timedelta(seconds=9)
    clock.advance(7)
    await tasks[3]
    assert clock.next_waking is None


async def test_no_sleep_at_all_lets_others_run() -> None:
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    await ManualClock(NOON).sleep(0)
    assert ran == [1]


def test_chance_and_ids_of_a_manual_clock_repeat_themselves() -> None:
    def drawn(seed: int) -> list[object]:
        clock = ManualClock(NOON, seed=seed)
        return [clock.entropy(), clock.new_id(), clock.entropy(), clock.new_id()]

    assert drawn(1) == drawn(1)
    assert drawn(1)[0] != drawn(2)[0]


def test_ids_of_a_manual_clock_are_ordered_uuids_of_version_7() -> None:
    clock = ManualClock(NOON)
    ids = [clock.new_id() for _ in range(5_000)]
    clock.advance(0.001)
    ids.append(clock.new_id())
    assert ids == sorted(set(ids))
    assert {uuid.UUID(each).version for each in ids} == {7}
