"""Signals with a ttl: kept when nobody listens, and given to exactly one instance, whatever crashes in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

import domain.kept_signals
from domain.commands import CancelInstance, SendSignal
from domain.errors import LimitExceededError, SignalConflictError
from engine.errors import NoListenerError, SeveralListenersError
from engine.kept_signals import Signalled
from engine.ports import Batch, CommitUnknownError, Store
from engine.store import MemoryStore, PostgresStore
from tests.engine.world import NOON, ONE, SIGNAL, Faults, World, system_clock

HOUR = 3_600_000
STREAM = "signals/default/k"
KEYED = """
name: keyed
steps:
  - {id: first, type: wait, signal: go, next: ask}
  - {id: ask, type: wait, signal: approve, correlationKey: $.input.key, next: done}
  - {id: done, type: succeed}
"""
STRICT = """
name: strict
signals: {approve: {schema: {type: object, required: [by]}}}
steps:
  - {id: approval, type: wait, signal: approve, next: done}
  - {id: done, type: succeed}
"""


def signal(id: str = "s1", name: str = "approve", payload: object = "yes") -> SendSignal:
    return SendSignal(
        at=datetime(2026, 3, 1, tzinfo=UTC), signal_id=id, name=name, payload=payload, actor="ann"
    )


async def send(world: World, id: str = "s1", key: str = "k", ttl_ms: int = HOUR, **more: Any) -> Signalled:
    return await world.engine.keeper.signal("default", key, signal(id, **more), ttl_ms=ttl_ms)


async def received(world: World, *instances: str) -> list[str]:
    """Which of the instances have a signal in their log, once for each that they have."""
    return [one for one in instances for topic in await world.topics(one) if topic == "SignalReceived"]


async def rows(world: World) -> list[str]:
    return [row.key for row in await world.faults.inner.owed_of([STREAM])]


async def test_it_is_kept_and_given_to_the_first_that_starts() -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        assert await send(world) == Signalled("kept", [])
        assert await rows(world) == ["s1"]
        first = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        second = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        assert await received(world, first, second) == [first]
        assert (await world.state(first)).status == "running"
        assert await world.topics(STREAM) == ["SignalKept", "SignalForwarded", "SignalDelivered"]
        assert await rows(world) == []
        assert await send(world) == Signalled("duplicate", [first])
        await world.check(first, second)


async def test_it_is_given_to_a_wait_under_its_own_key() -> None:
    async with World() as world:
        await world.deploy(KEYED)
        one = (await world.start("keyed", {"key": "k"}, correlation_id="other")).instance_id
        await send(world)
        await world.settle()
        assert await received(world, one) == []
        await world.act(one, SendSignal, signal_id="g", name="go")
        await world.settle()
        assert (await world.state(one)).status == "completed"


async def test_who_listens_already_gets_it_at_once() -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        one = (await world.start("asks", correlation_id="k")).instance_id
        assert await send(world) == Signalled("accepted", [one])
        assert await send(world) == Signalled("duplicate", [one])
        assert await world.topics(STREAM) == ["SignalKept", "SignalForwarded", "SignalDelivered"]
        assert await rows(world) == []


async def test_a_request_that_comes_twice_reaches_one_instance_however_the_two_overlap() -> None:
    """Found by the simulator (seed 8216): one copy had found nobody and kept the signal; the other one, which had read
    before that, found an instance that was new and gave it the same."""
    async with World() as world:
        await world.deploy(STRICT)
        find, reads, may_go, told = world.faults.store.listeners, *(asyncio.Event() for _ in range(3))
        kept = False

        async def listeners(namespace: str, correlation_key: str, signal: str) -> list[str]:
            if asyncio.current_task() is late_copy:
                reads.set()
                await may_go.wait()
            elif kept:
                await told.wait()
            return await find(namespace, correlation_key, signal)

        world.faults.store.listeners = listeners  # type: ignore[method-assign]
        late_copy = asyncio.ensure_future(send(world, payload={"by": "ann"}))
        await reads.wait()
        assert await send(world, payload={"by": "ann"}) == Signalled("kept", [])
        kept = True
        first = (await world.start("strict", correlation_id="k")).instance_id
        may_go.set()
        assert (await late_copy).instances == [first]
        told.set()
        await world.settle()
        second = (await world.start("strict", correlation_id="k")).instance_id
        await world.settle()
        assert await received(world, first, second) == [first]
        assert await world.topics(STREAM) == ["SignalKept", "SignalForwarded", "SignalDelivered"]


async def test_several_listeners_are_refused_and_reached_with_all() -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        both = [(await world.start("asks", correlation_id="k")).instance_id for _ in range(2)]
        with pytest.raises(SeveralListenersError):
            await send(world)
        done = await world.engine.keeper.signal("default", "k", signal(), ttl_ms=HOUR, all=True)
        assert done == Signalled("accepted", both)


async def test_without_a_ttl_nobody_is_404_as_before() -> None:
    async with World() as world:
        with pytest.raises(NoListenerError):
            await world.engine.signal_by_key("default", "approve", "k", "s1", "yes")
        assert await world.topics(STREAM) == []


async def test_the_same_id_is_one_signal_and_another_payload_is_refused() -> None:
    async with World() as world:
        await send(world)
        assert await send(world) == Signalled("kept", [])
        with pytest.raises(SignalConflictError):
            await send(world, payload="no")
        with pytest.raises(SignalConflictError):
            await send(world, name="other")
        assert await world.topics(STREAM) == ["SignalKept"]


async def test_only_so_many_are_kept_under_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain.kept_signals, "MAX_KEPT", 2)
    async with World() as world:
        await send(world, "s1")
        await send(world, "s2")
        with pytest.raises(LimitExceededError):
            await send(world, "s3")
        await send(world, "s3", key="another")
        assert await rows(world) == ["s1", "s2"]


async def test_when_its_time_is_over_it_is_recorded_and_nobody_gets_it() -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        await send(world, ttl_ms=60_000)
        await world.pass_time(59)
        assert await world.topics(STREAM) == ["SignalKept"]
        await world.pass_time(4)
        assert await world.topics(STREAM) == ["SignalKept", "SignalExpired"]
        assert await rows(world) == []
        one = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        assert await received(world, one) == []
        assert await send(world) == Signalled("expired", [])


async def test_it_expires_at_its_moment_even_if_the_sweep_comes_later() -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        await world.pass_time(0.5)
        await send(world, ttl_ms=1_000)
        await world.pass_time(1.2)
        one = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        assert await received(world, one) == []


async def test_several_come_in_the_order_in_which_they_were_kept() -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        for id in ("s2", "s1", "s3"):
            await send(world, id)
        one = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        log = await world.log(one)
        assert [event.signal_id for event in log if type(event).__name__ == "SignalReceived"] == [  # type: ignore[attr-defined]
            "s2",
            "s1",
            "s3",
        ]


async def test_who_has_nothing_to_do_with_it_does_not_get_it() -> None:
    async with World() as world:
        await world.deploy(SIGNAL, ONE)
        other = (await world.start("one", correlation_id="k")).instance_id
        assert await send(world) == Signalled("kept", [])
        await world.pass_time(10)
        assert await world.topics(STREAM) == ["SignalKept"]
        one = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        assert await received(world, one, other) == [one]


async def test_who_cannot_take_it_gives_it_back_and_is_not_asked_again() -> None:
    async with World() as world:
        await world.deploy(STRICT, SIGNAL)
        await send(world)
        strict = (await world.start("strict", correlation_id="k")).instance_id
        await world.pass_time(10)
        assert await world.topics(STREAM) == ["SignalKept", "SignalForwarded", "SignalReturned"]
        one = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        assert await received(world, one, strict) == [one]


# Crashes, races, several servers ------------------------------------------------------


class Crash(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(5))
async def test_a_crash_around_any_append_loses_nothing_and_doubles_nothing(number: int, when: str) -> None:
    """The appends: kept, started, forwarded, received, delivered."""
    store = await _kept_until_crash(number, when)
    async with World(Faults(store.faults.inner), store.clock) as world:
        if not await world.topics(STREAM):
            await send(world)
        instances = await world.faults.inner.streams("0-")
        if not instances:
            instances = [(await world.start("asks", correlation_id="k")).instance_id]
        another = (await world.start("asks", correlation_id="k")).instance_id
        await world.pass_time(5)
        assert len(await received(world, *instances, another)) == 1
        assert (await world.topics(STREAM))[-1] == "SignalDelivered"
        assert await rows(world) == []
        assert (await send(world)).status == "duplicate"
        await world.check(*instances, another)


async def _kept_until_crash(number: int, when: str) -> World:
    """A world whose process dies around its so-many-th append after the deploy."""
    world = await World().__aenter__()
    await world.deploy(SIGNAL)
    seen = -1

    async def crash(batch: Batch) -> None:
        nonlocal seen
        seen += 1
        if seen >= number:
            world.kill()
            await asyncio.Event().wait()  # Nobody is there any more to hear of it.

    setattr(world.faults, when, crash)
    acting = asyncio.ensure_future(_keep_and_start(world))
    await world.settle()
    acting.cancel()
    await asyncio.gather(acting, return_exceptions=True)
    assert seen >= number
    return world


async def _keep_and_start(world: World) -> None:
    await send(world)
    await world.start("asks", correlation_id="k")
    await world.settle()


@pytest.mark.parametrize("number", range(5))
async def test_a_commit_of_unknown_fate_is_found_out(number: int) -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        seen = -1

        async def doubt(batch: Batch) -> None:
            nonlocal seen
            seen += 1
            if seen == number:
                raise CommitUnknownError

        world.faults.after = doubt
        try:
            await send(world)
        except CommitUnknownError:
            await send(world)
        one = (await world.start("asks", correlation_id="k")).instance_id
        await world.pass_time(5)
        assert await received(world, one) == [one]
        assert await rows(world) == []


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        from engine.clock import ManualClock

        yield MemoryStore(ManualClock(NOON))
        return
    database, schema = request.getfixturevalue("database"), request.getfixturevalue("schema")
    opened = await PostgresStore.open(database, schema=schema)
    yield opened
    await opened.close()


@pytest.mark.parametrize("seed", range(8))
async def test_a_start_and_a_signal_at_the_same_moment_find_each_other(
    store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On two servers, interleaved in ever new ways; no sweep is needed for it."""
    monkeypatch.setattr("engine.upkeep.SWEEP_SECONDS", 3_600.0)
    clock = await system_clock(store)
    chance = Random(seed)
    async with World(Faults(store, chance), clock) as one, World(Faults(store, chance), clock) as two:
        await one.deploy(SIGNAL)
        for number in range(5):
            key = f"k{number}"
            sent, started = await asyncio.gather(send(one, key=key), two.start("asks", correlation_id=key))
            assert sent.status in ("accepted", "kept")
            async with asyncio.timeout(10):
                while not await received(two, started.instance_id):
                    await two.settle()
            assert await received(one, started.instance_id) == [started.instance_id]


async def test_two_servers_give_it_to_one_instance_only(store: Store) -> None:
    clock = await system_clock(store)
    async with World(Faults(store), clock) as one, World(Faults(store), clock) as two:
        await one.deploy(SIGNAL)
        for number in range(5):
            await send(one, f"s{number}")
        started = await asyncio.gather(
            *(world.start("asks", correlation_id="k") for world in (one, two, one, two))
        )
        ids = [each.instance_id for each in started]
        async with asyncio.timeout(10):
            while await rows(one):
                await one.engine.keeper.sweep()
                await two.engine.keeper.sweep()
        assert len(await received(one, *ids)) == 5
        topics = await one.topics(STREAM)
        assert topics.count("SignalDelivered") == topics.count("SignalForwarded") == 5


async def test_an_instance_that_ended_in_between_gives_it_back() -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        await send(world)
        ended: list[str] = []

        async def end(batch: Batch) -> None:
            for event in batch.events:
                if event.topic == "SignalForwarded" and not ended:
                    ended.append((await world.faults.inner.streams("0-"))[0])
                    await world.act(ended[0], CancelInstance, actor="ann", reason="enough")

        world.faults.after = end
        first = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        assert ended == [first]
        second = (await world.start("asks", correlation_id="k")).instance_id
        await world.settle()
        assert await received(world, first, second) == [second]
