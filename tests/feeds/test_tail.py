"""The log as the feed reads it: from memory at its end, from the database behind it, the same either way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool

from domain.codec import encode, topic_of
from domain.events import DataChanged, InstanceStarted, StatusChanged
from engine.clock import ManualClock
from engine.ports import Batch, Recorded
from engine.store import PostgresStore
from feeds.log import BATCH_EVENTS, Log
from feeds.messages import Message
from feeds.tail import POLL, REST_AFTER, Tail
from tests.engine.world import NOON

COMMANDS = 6


@pytest.fixture
async def store(database: str, schema: str) -> AsyncIterator[PostgresStore]:
    opened = await PostgresStore.open(database, schema=schema)
    yield opened
    await opened.close()


@pytest.fixture
async def log(database: str, store: PostgresStore) -> AsyncIterator[Log]:
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        database, min_size=1, max_size=2, open=False, kwargs={"autocommit": True}
    )
    await pool.open()
    yield Log(pool, (store.schema, "stored_events"))
    await pool.close()


def started(clock: ManualClock, namespace: str = "default") -> list[Any]:
    """A command of three events, of which only the first says when."""
    return [
        InstanceStarted(
            at=clock.now(),
            command_id="c",
            namespace=namespace,
            definition="order",
            version="1",
            definition_hash="0f",
            input={"at": "no time"},
            labels={"tier": "premium"},
        ),
        StatusChanged(reason="started", from_status="pending", to="running"),
        StatusChanged(reason="waits", from_status="running", to="waiting"),
    ]


async def append(store: PostgresStore, stream: str, events: Iterable[Any], after: int = 0) -> None:
    recorded = [
        Recorded(stream, after + number, topic_of(event), encode(event))
        for number, event in enumerate(events, 1)
    ]
    await store.append(Batch(events=recorded))


async def filled(store: PostgresStore, clock: ManualClock) -> None:
    for number in range(COMMANDS):
        clock.advance(1)
        await append(store, f"0-{number}", started(clock))


async def everything(tail: Tail, limit: int) -> list[Message]:
    found: list[Message] = []
    position = 0
    while (part := await tail.read(position, limit)).position > position:
        found += part.messages
        position = part.position
    return found


@pytest.mark.parametrize("limit", [1, 2, 4, 100])
@pytest.mark.parametrize("kept", [0, 1, 5, 1_000])
async def test_memory_and_database_tell_the_same(
    store: PostgresStore, log: Log, kept: int, limit: int
) -> None:
    clock = ManualClock(NOON)
    tail = Tail(log, clock, kept_events=kept)
    await append(store, "0-first", started(clock))
    tail.position = tail._floor = await log.head()
    await filled(store, clock)
    await tail._advance()
    told = await everything(tail, limit)
    assert [(one.stream, one.version) for one in told] == [
        (stream, version)
        for stream in ("0-first", *(f"0-{number}" for number in range(COMMANDS)))
        for version in (1, 2, 3)
    ]
    times = {one.stream: one.at for one in told if one.version == 1}
    assert all(one.at == times[one.stream] for one in told), "a consequence has the time of its stimulus"
    assert len(set(times.values())) == COMMANDS + 1
    assert all((one.origin.namespace, one.origin.definition) == ("default", "order") for one in told)
    assert all(one.origin.labels == {"tier": "premium"} for one in told)


async def test_who_begins_in_the_middle_of_a_command_hears_when_it_happened(
    store: PostgresStore, log: Log
) -> None:
    clock = ManualClock(NOON)
    await filled(store, clock)
    whole = await log.read(0)
    for message in whole:
        (one,) = await log.read(message.position - 1, 1)
        assert (one.position, one.at) == (message.position, message.at)


async def test_an_event_of_a_newer_release_is_passed_on(store: PostgresStore, log: Log) -> None:
    await append(store, "0-1", started(ManualClock(NOON)))
    newer = Recorded("0-1", 4, "NeverHeardOf", b'{"at":"2026-03-01T12:00:05Z","new":1}')
    await store.append(Batch(events=[newer]))
    last = (await log.read(0))[-1]
    assert (last.topic, last.at.second) == ("NeverHeardOf", 5)
    assert b'"data":{"at":"2026-03-01T12:00:05Z","new":1}' in last.plain


async def test_a_batch_is_bounded_by_bytes(
    store: PostgresStore, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(NOON)
    await append(store, "0-1", started(clock))
    large = DataChanged(at=clock.now(), data={"text": "x" * 10_000})
    await append(store, "0-1", [large] * 5, after=3)
    monkeypatch.setattr("feeds.log.MAX_BATCH_BYTES", 15_000)
    assert [one.version for one in await log.read(0)] == [1, 2, 3, 4, 5]
    monkeypatch.setattr("feeds.log.MAX_BATCH_BYTES", 1)
    position = (await log.read(0))[0].position
    assert [one.version for one in await log.read(position)] == [2], "one is always read"


async def test_a_crowd_that_waits_asks_the_database_nothing(store: PostgresStore, log: Log) -> None:
    import asyncio

    clock = ManualClock(NOON)
    tail = Tail(log, clock)
    asked: list[str] = []
    ask = log._ask

    async def counted(statement: str, **parameters: Any) -> list[Any]:
        asked.append(statement)
        return await ask(statement, **parameters)

    log._ask = counted  # type: ignore[method-assign]

    async def consume(position: int) -> int:
        await tail.beyond(position)
        return len((await tail.read(position)).messages)

    crowd = [asyncio.ensure_future(consume(0)) for _ in range(1_000)]
    await append(store, "0-1", started(clock))
    await tail._advance()
    assert await asyncio.gather(*crowd) == [3] * 1_000
    assert asked == ["read", "origins"]


class Counted(Log):
    """Counts how often events were asked for."""

    reads = 0

    async def read(self, after: int, limit: int = BATCH_EVENTS) -> list[Message]:
        self.reads += 1
        return await super().read(after, limit)


async def settled() -> None:
    """Real threads and a real database have their turn."""
    for _ in range(20):
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)


async def test_while_nobody_waits_nothing_is_read_and_who_comes_misses_nothing(
    database: str, store: PostgresStore, log: Log
) -> None:
    clock = ManualClock(NOON)
    counted = Counted(log._pool, (store.schema, "stored_events"))
    tail = Tail(counted, clock)
    await tail.start()
    try:
        for _ in range(round(REST_AFTER / POLL) + 5):
            clock.advance(POLL)
            await settled()
        before = counted.reads
        await append(store, "0-1", started(clock))
        for _ in range(5):
            tail.wake()
            clock.advance(POLL)
            await settled()
        assert counted.reads == before, "it rests"
        async with asyncio.timeout(30):
            await tail.beyond(0)
        assert [message.version for message in (await tail.read(0)).messages] == [1, 2, 3]
    finally:
        await tail.stop()
