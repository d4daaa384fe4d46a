"""Recovery is no mode: an engine that dies at any moment is followed by one that finds everything in the store.

Each run kills the engine right before or right after one of its appends, starts another one, and drives everything to
its end. A worker lives on under its session, but what the dead engine had not delivered it never hears of.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import psycopg
import pytest

from domain.commands import CancelInstance, ChangeData, SendSignal
from domain.errors import TenutoError
from domain.events import StepStarted
from domain.evolve import evolve
from domain.state import State
from engine.clock import ManualClock
from engine.messages import Answer, StartRequest, Task, TaskResult
from engine.ports import Batch
from engine.rows import rows_of
from engine.store import MemoryStore, PostgresStore
from tests.engine.world import NOON, SIGNAL, Faults, World, check_instance, done, failed, system_clock

ORDER = """
name: order
steps:
  - {id: charge, type: task, action: worker:w/charge, timeout: 8s, compensateWith: refund, next: reserve}
  - {id: reserve, type: task, action: worker:w/reserve, timeout: 8s, compensateWith: release, next: ship}
  - {id: ship, type: task, action: worker:w/ship, timeout: 8s, next: pause}
  - {id: pause, type: wait, for: 2s, next: approval}
  - {id: approval, type: wait, signal: approve, for: 1h}
  - {id: refund, type: task, action: worker:w/refund, timeout: 8s}
  - {id: release, type: task, action: worker:w/release, timeout: 8s}
"""
ROUNDS = 120


class Play:
    """Three orders: one goes well, one is declined when it is shipped, one is cancelled while it waits.

    Clients repeat what was not answered, under the same key; the worker keeps its session.
    """

    def __init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.acted: set[str] = set()
        self.handed_out: Counter[tuple[str, str, int]] = Counter()

    async def drive(self, world: World) -> None:
        """Until all have ended."""
        for _ in range(ROUNDS):
            for name in ("well", "declined", "cancelled"):
                if name not in self.ids:
                    self.ids[name] = (
                        await world.start("order", idempotency_key=name, body_hash="h")
                    ).instance_id
            await self._act(world, "well", SendSignal, signal_id="s-1", name="approve", payload={})
            await self._act(world, "cancelled", CancelInstance, actor="a", reason="r")
            answer = await world.poll("w", session="s")
            while answer.tasks:
                answer = await world.poll(
                    "w", session="s", results=[self._result(task) for task in answer.tasks]
                )
            if all([(await world.state(id)).ended for id in self.ids.values()]):
                return
            await world.beat(session="s")
            await world.pass_time(1)
        raise AssertionError("it did not come to its end")

    async def _act(self, world: World, order: str, kind: Any, **fields: Any) -> None:
        """Once it waits for the signal."""
        id = self.ids[order]
        if order not in self.acted and "approval#1" in (await world.state(id)).open:
            await world.act(id, kind, **fields)
            self.acted.add(order)

    def _result(self, task: Task) -> TaskResult:
        self.handed_out[task.instance_id, task.execution, task.attempt] += 1
        if task.step == "ship" and task.instance_id == self.ids.get("declined"):
            return failed(task, "DeclinedError", retryable=False)
        if task.step == "charge" and task.attempt == 1:
            return failed(task)
        return done(task)


async def crash(world: World, play: Play, at: int, *, after: bool) -> bool:
    """Plays until the append number `at`, and kills the engine there; False when there are fewer."""
    count = 0
    crashed = asyncio.Event()

    async def die(_: Batch) -> None:
        nonlocal count
        count += 1
        if count == at:
            crashed.set()
            await asyncio.Event().wait()

    async with world:
        await world.deploy(ORDER)
        world.faults.after, world.faults.before = (die, None) if after else (None, die)
        playing = asyncio.ensure_future(play.drive(world))
        dying = asyncio.ensure_future(crashed.wait())
        await asyncio.wait({playing, dying}, return_when=asyncio.FIRST_COMPLETED)
        dead = crashed.is_set()
        if dead:
            world.kill()
        else:
            await playing
        for task in (playing, dying):
            task.cancel()
        await asyncio.gather(playing, dying, return_exceptions=True)
        world.faults.after = world.faults.before = None
        return dead


async def check_play(world: World, play: Play) -> None:
    outcomes = {name: (await world.state(id)).outcome for name, id in play.ids.items()}
    assert outcomes == {"well": "succeeded", "declined": "compensated", "cancelled": "cancelled"}
    assert set(await world.faults.inner.streams("0-")) == set(play.ids.values()), "one instance per key"
    assert set(play.handed_out.values()) == {1}, "an attempt is handed out once"
    for name, id in play.ids.items():
        await world.check(id)
        topics = await world.topics(id)
        assert topics.count("Compensated") == (0 if name == "well" else 2)


@pytest.mark.parametrize("after", [False, True], ids=["before the append", "after the append"])
async def test_a_crash_at_every_append_loses_nothing_and_doubles_nothing(after: bool) -> None:
    at, dead = 0, True
    while dead:
        at += 1
        world, play = World(), Play()
        dead = await crash(world, play, at, after=after)
        if dead:
            async with World(world.faults, world.clock) as again:
                await play.drive(again)
                await check_play(again, play)
        else:
            await check_play(world, play)
    assert at > 15, "there were that many places to crash at"


async def test_two_crashes_in_a_row_are_no_different() -> None:
    for first, second in ((2, 3), (4, 4), (6, 5), (9, 3)):
        world, play = World(), Play()
        assert await crash(world, play, first, after=True)
        between = World(world.faults, world.clock)
        assert await crash(between, play, second, after=True)
        async with World(world.faults, world.clock) as again:
            await play.drive(again)
            await check_play(again, play)


async def test_two_servers_may_be_interleaved_in_any_way() -> None:
    """Seeded: every call to the store takes its time, so the two come in each other's way in ever new places."""
    for seed in range(50):
        clock = ManualClock(NOON)
        inner = MemoryStore(clock)
        one = World(Faults(inner, Random(seed)), clock)
        two = World(Faults(inner, Random(-seed - 1)), clock)
        async with one, two:
            await one.deploy(SIGNAL)
            ids = [(await (one, two)[number % 2].start("asks")).instance_id for number in range(4)]
            handed_out: list[str] = []

            async def client(world: World, id: str, number: int) -> Answer:
                return await world.act(id, SendSignal, signal_id=f"{number}", name="approve", payload=number)

            async def worker(world: World, session: str, handed_out: list[str]) -> None:
                results: list[TaskResult] = []
                for _ in range(12):
                    answer = await world.poll("w", session=session, max_tasks=2, results=results)
                    assert {status.status for status in answer.results} <= {"accepted"}
                    handed_out.extend(task.token for task in answer.tasks)
                    results = [done(task) for task in answer.tasks]
                    await asyncio.sleep(0)
                    await world.engine._upkeep.search()
                await world.engine.report(results)

            # Every signal is sent through both servers, as clients do that heard no answer from the first.
            await asyncio.gather(
                *(client(world, id, number) for number, id in enumerate(ids) for world in (one, two)),
                worker(one, "first", handed_out),
                worker(two, "second", handed_out),
            )
            await one.work("w", session="last")
            for id in ids:
                state = await check_instance(inner, id)
                assert state.outcome == "succeeded", f"seed {seed}"
                assert (await one.topics(id)).count("SignalReceived") == 1
            assert len(handed_out) == len(set(handed_out)) <= 4


async def test_what_is_owed_is_rebuilt_from_the_log() -> None:
    async with World() as world:
        await world.deploy(ORDER, SIGNAL)
        ids = [
            (await world.start(name, correlation_id=f"c-{name}")).instance_id
            for name in ("order", "order", "asks")
        ]
        await world.tasks("w", max_tasks=1)
        store = world.faults.inner
        assert isinstance(store, MemoryStore)
        before = await store.owed_of(ids)
        store._owed.clear()
        for id in ids:
            assert await world.engine.rebuild_owed(id)
        assert await store.owed_of(ids) == before
        await world.check(*ids)
        await world.pass_time(11)
        assert len(await world.tasks("w")) == 2


async def test_an_instance_that_has_moved_on_is_not_rebuilt_from_what_it_was() -> None:
    async with World() as world:
        await world.deploy(ORDER)
        id = (await world.start("order")).instance_id
        inner = world.faults.inner
        state = State(id=id)
        for event in await world.log(id):
            evolve(state, event)
        await world.tasks("w")
        assert not await inner.replace_owed(id, list(rows_of(state).values()), version=state.version)
        await world.check(id)


# On PostgreSQL -----------------------------------------------------------------------


async def test_two_servers_on_one_database_serve_the_same_instances(database: str, schema: str) -> None:
    stores = [await PostgresStore.open(database, schema=schema) for _ in range(2)]
    clock = await system_clock(stores[0])
    async with World(Faults(stores[0]), clock) as one, World(Faults(stores[1]), clock) as two:
        worlds = (one, two)
        await one.deploy(ORDER)
        key = {"idempotency_key": "same", "body_hash": "h"}
        same = await asyncio.gather(*(world.start("order", **key) for world in worlds * 4))
        assert len({answer.instance_id for answer in same}) == 1
        assert sum(answer.created for answer in same) == 1
        answers = await asyncio.gather(*(worlds[number % 2].start("order") for number in range(20)))
        ids = [same[0].instance_id, *(answer.instance_id for answer in answers)]
        handed_out: list[str] = []

        async def worker(world: World, session: str) -> None:
            results: list[TaskResult] = []
            waiting = 0
            while waiting < 3:
                answer = await world.poll("w", session=session, max_tasks=3, wait=0.4, results=results)
                assert {status.status for status in answer.results} <= {"accepted"}
                handed_out.extend(task.token for task in answer.tasks)
                results = [done(task) for task in answer.tasks]
                waiting = 0 if answer.tasks else waiting + 1

        async def change(world: World, id: str, number: int) -> int:
            await world.act(id, ChangeData, data={f"n{number}": number}, actor="a", reason="r")
            return number

        changes = [change(worlds[number % 2], id, number) for number in range(6) for id in ids]
        workers = [worker(world, f"s{number}") for number, world in enumerate(worlds * 2)]
        await asyncio.gather(*workers, *changes)
        for id in ids:
            state = await check_instance(stores[0], id)
            assert {f"n{number}" for number in range(6)} <= state.data.keys(), "no command is lost"
            assert "approval#1" in state.open or "pause#1" in state.open
            started = [event for event in await one.log(id) if isinstance(event, StepStarted)]
            assert len(started) == 3
        assert len(handed_out) == len(set(handed_out)) == 3 * len(ids)
    for store in stores:
        await store.close()


@pytest.mark.parametrize("at", [2, 4, 7])
async def test_a_crash_on_postgresql_is_followed_by_a_server_that_finds_everything(
    database: str, schema: str, at: int
) -> None:
    store = await PostgresStore.open(database, schema=schema)
    clock = await system_clock(store)
    count = 0
    crashed = asyncio.Event()

    async def die(_: Batch) -> None:
        nonlocal count
        count += 1
        if count == at:
            crashed.set()
            await asyncio.Event().wait()

    world = World(Faults(store), clock, lease_seconds=0.5)
    async with world:
        await world.deploy(ORDER)
        world.faults.after = die

        async def play() -> None:
            await world.start("order", idempotency_key="k", body_hash="h")
            await world.work("w", session="old")

        playing = asyncio.ensure_future(play())
        await crashed.wait()
        world.kill()
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    async with World(Faults(store), clock, lease_seconds=0.5) as again:
        answer = await again.start("order", idempotency_key="k", body_hash="h")
        assert not answer.created
        while "pause#1" not in (await again.state(answer.instance_id)).open:
            polled = await again.poll("w", session="new", wait=0.3)
            await again.engine.report([done(task) for task in polled.tasks])
        await check_instance(store, answer.instance_id)
        with psycopg.connect(database) as connection:
            connection.execute(f'DELETE FROM "{schema}".owed')  # noqa: S608 - a name of ours
        assert await again.engine.rebuild_owed(answer.instance_id)
        await check_instance(store, answer.instance_id)
        with pytest.raises(TenutoError):
            await again.engine.start_instance(
                StartRequest(
                    namespace="default", definition="order", input={}, idempotency_key="k", body_hash="x"
                )
            )
    await store.close()
