"""Two servers on one log: whoever is second decides again, and nobody hears what was not true."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.commands import Command, PauseInstance, SendSignal
from domain.errors import TenutoError
from engine.errors import IdempotencyConflictError
from engine.messages import Answer, Envelope
from engine.ports import Batch, StoreUnavailableError
from tests.engine.world import ONE, SIGNAL, World


async def test_only_what_is_stale_is_decided_again() -> None:
    """Another server is quicker on one instance of a batch: the rest of the batch is stored as it was decided."""
    async with World() as world:
        await world.deploy(SIGNAL)
        ids = [(await world.start("asks")).instance_id for _ in range(3)]
        decided: list[str] = []
        other = await world.another()

        def signal(id: str, number: int) -> Any:
            def make(env: Envelope) -> Command:
                decided.append(id)
                return SendSignal(
                    at=env.at,
                    command_id=env.command_id,
                    signal_id=f"mine-{number}",
                    name="approve",
                    payload=number,
                )

            return world.engine.act(id, make)

        async def meanwhile(_: Batch) -> None:
            world.faults.before = None
            await other.act(ids[1], SendSignal, signal_id="theirs", name="approve", payload="theirs")

        world.faults.before = meanwhile
        answers = await asyncio.gather(*(signal(id, number) for number, id in enumerate(ids)))
        assert decided == [*ids, ids[1]]
        assert [len(answer.events) > 0 for answer in answers] == [True] * 3
        log = await world.topics(ids[1])
        assert log.count("SignalReceived") == 2
        assert log.count("WaitEnded") == 1
        await world.check(*ids)
        await other.engine.stop(0)


async def test_a_refusal_never_rests_on_a_stale_cache() -> None:
    """What yields no events is checked by no append, so the version is asked for before anybody is refused."""
    async with World() as world:
        await world.deploy(ONE)
        started = await world.start("one")
        id = started.instance_id
        other = await world.another()
        [task] = await other.tasks("w")
        status = (await world.complete(task))[0]
        assert status.status == "accepted", "this server last saw the task in its queue"
        await world.check(id)
        with pytest.raises(TenutoError, match="ended"):
            await other.act(id, PauseInstance, actor="a", reason="r")
        await other.engine.stop(0)


async def test_a_task_that_another_server_scheduled_again_is_found_though_the_cache_is_stale() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await world.start("one")
        [task] = await world.tasks("w")
        other = await world.another()
        await other.fail(task)  # The retry is in the table; `world` still believes that attempt 1 is running.
        polling = world.polling("w")
        await world.pass_time(2)
        assert [task.attempt for task in await world.got(polling)] == [2]
        await other.engine.stop(0)


async def test_a_task_whose_claim_was_stale_is_claimed_again_at_once() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        other = await world.another()

        async def meanwhile(_: Batch) -> None:
            world.faults.before = None
            await other.change(id, n=1)

        world.faults.before = meanwhile
        polling = world.polling("w")
        assert [task.attempt for task in await world.got(polling)] == [1], (
            "without waiting for the next search"
        )
        await world.check(id)
        await other.engine.stop(0)


async def test_a_caller_hears_of_a_conflict_that_does_not_end() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        other = await world.another()
        count = 0

        async def always_before(_: Batch) -> None:
            nonlocal count
            count += 1
            await other.change(id, n=count)

        world.faults.before = always_before
        with pytest.raises(TenutoError, match="first"):
            await world.change(id, mine=1)
        world.faults.before = None
        assert (await world.change(id, mine=1)).events
        await world.check(id)
        await other.engine.stop(0)


# Client keys


async def test_a_key_starts_one_instance_within_a_batch() -> None:
    async with World() as world:
        await world.deploy(ONE)
        key = {"idempotency_key": "k", "body_hash": "h"}
        answers = await asyncio.gather(
            world.start("one", **key),
            world.start("one", **key),
            world.start("one", idempotency_key="k", body_hash="other"),
            return_exceptions=True,
        )
        first, second, third = answers
        assert isinstance(first, Answer)
        assert isinstance(second, Answer)
        assert (first.instance_id, first.version) == (second.instance_id, second.version)
        assert [first.created, second.created] == [True, False]
        assert isinstance(third, IdempotencyConflictError)


async def test_a_key_answers_after_a_restart_as_it_did_the_first_time() -> None:
    world = World()
    async with world:
        await world.deploy(ONE)
        first = await world.start("one", idempotency_key="k", body_hash="h")
        await world.work("w")
    async with World(world.faults, world.clock) as again:
        second = await again.start("one", idempotency_key="k", body_hash="h")
        assert (second.instance_id, second.version, second.created) == (
            first.instance_id,
            first.version,
            False,
        )
        assert second.status == "completed", "what became of it is told as it is now"


async def test_a_key_that_another_server_used_first_is_answered_with_its_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        await world.deploy(ONE)
        other = await world.another()
        theirs: list[Answer] = []

        async def meanwhile(_: Batch) -> None:
            world.faults.before = None
            theirs.append(await other.start("one", idempotency_key="k", body_hash="h"))

        world.faults.before = meanwhile
        mine, free = await asyncio.gather(
            world.start("one", idempotency_key="k", body_hash="h"), world.start("one")
        )
        assert mine.instance_id == theirs[0].instance_id
        assert not mine.created
        assert free.created, "the rest of the batch is stored"
        await other.engine.stop(0)


async def test_a_start_that_repeats_a_failed_one_is_decided_on_its_own() -> None:
    """Neither is carried out behind the back of a caller who was told that nothing was stored."""
    async with World() as world:
        await world.deploy(ONE)
        key = {"idempotency_key": "k", "body_hash": "h"}

        async def away_once(_: Batch) -> None:
            world.faults.before = None
            raise StoreUnavailableError(problem="test")

        world.faults.before = away_once
        first, second = await asyncio.gather(
            world.start("one", **key), world.start("one", **key), return_exceptions=True
        )
        assert isinstance(first, StoreUnavailableError)
        assert isinstance(second, Answer)
        await world.settle()
        assert await world.faults.inner.streams("0-") == [second.instance_id]
