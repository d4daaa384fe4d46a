"""The loop under the simulation: time jumps, chance orders what could run, and a dead process never runs again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from simulation.virtual_time import (
    START,
    NothingToDoError,
    Process,
    ViolationError,
    VirtualClock,
    VirtualLoop,
    result_of,
)


def loop_of(seed: int = 0, *, shuffled: bool = True) -> VirtualLoop:
    return VirtualLoop(Random(seed), shuffled=shuffled)  # type: ignore[abstract]  # as much as is used


async def in_order_of_running(number: int) -> list[int]:
    ran: list[int] = []

    async def run(one: int) -> None:
        await asyncio.sleep(1)
        ran.append(one)

    await asyncio.gather(*(run(one) for one in range(number)))
    return ran


def spawn(loop: VirtualLoop, what: Coroutine[Any, Any, None], process: Process) -> None:
    loop.create_task(what, context=process.context.copy())


def test_an_hour_passes_at_once() -> None:
    loop = loop_of()
    loop.run(asyncio.sleep(3600))
    assert loop.time() == 3600


def test_what_is_due_at_one_instant_runs_in_an_order_that_the_seed_decides() -> None:
    first, again, other = (loop_of(seed).run(in_order_of_running(20)) for seed in (1, 1, 2))
    assert first == again
    assert sorted(first) == sorted(other)
    assert first != other


def test_unshuffled_it_keeps_the_order_of_asyncio() -> None:
    assert loop_of(shuffled=False).run(in_order_of_running(20)) == list(range(20))


def test_a_dead_process_runs_nothing_more_not_even_its_finally() -> None:
    said: list[str] = []

    async def work() -> None:
        try:
            said.append("begins")
            await asyncio.sleep(1)
        finally:
            said.append("cleans up")

    async def story(loop: VirtualLoop) -> list[str]:
        process = Process("doomed")
        spawn(loop, work(), process)
        await asyncio.sleep(0.5)
        process.alive = False
        await asyncio.sleep(10)
        return list(said)

    loop = loop_of()
    assert loop.run(story(loop)) == ["begins"]


def test_a_frozen_process_goes_on_where_it_stood() -> None:
    loop = loop_of()
    woke_at: list[float] = []

    async def work() -> None:
        await asyncio.sleep(1)
        woke_at.append(loop.time())

    async def story() -> None:
        process = Process("frozen")
        spawn(loop, work(), process)
        await asyncio.sleep(0.5)
        process.frozen = True
        await asyncio.sleep(5)
        assert not woke_at
        loop.thaw(process)
        await asyncio.sleep(0.5)

    loop.run(story())
    assert woke_at == [5.5]


def test_waiting_for_what_never_comes_is_told() -> None:
    loop = loop_of()
    with pytest.raises(NothingToDoError):
        loop.run(asyncio.Event().wait())


def test_a_violation_ends_the_run_wherever_it_is_raised() -> None:
    loop = loop_of()

    def check() -> None:
        raise ViolationError("I0: broken")

    loop.call_later(1, check)
    with pytest.raises(ViolationError):
        loop.run(asyncio.sleep(2))


def test_a_skewed_clock_is_ahead_and_runs_faster() -> None:
    loop = loop_of()
    clock = VirtualClock(loop, Random(0), offset=2_000_000, rate=1.5)

    async def story() -> None:
        await clock.sleep(3)

    loop.run(story())
    assert loop.time() == 2
    assert (clock.now() - START).total_seconds() == 2 * 1.5 + 2
    assert clock.monotonic() == 3


def test_ids_are_unique_and_in_the_order_of_time() -> None:
    loop = loop_of()
    clock = VirtualClock(loop, Random(0))
    early = clock.new_id()
    loop.run(asyncio.sleep(1))
    assert early < clock.new_id()
    assert len(early) == 32


def test_a_coroutine_that_never_waits_gives_its_result_at_once() -> None:
    async def answer() -> int:
        return 42

    assert result_of(answer()) == 42
