"""The real loop: an instance follows its new version from the commit on, wherever it is cached. A fork: one commit."""

from __future__ import annotations

from typing import Any

import pytest

from domain.commands import MigrateInstance, PauseInstance
from domain.errors import ForkRefusedError, MigrationRefusedError, UnknownInstanceError
from domain.events import StepScheduled
from domain.moves import Forked, Migrated
from engine import cache
from engine.messages import Answer, ForkRequest
from engine.ports import Batch, CommitUnknownError, VersionConflictError
from tests.engine.world import SAGA, World

OTHER = (
    SAGA.replace("id: ship,", "id: send,").replace("next: ship", "next: send").replace("w/ship", "post/send")
)
STEPS = {"ship": "send"}
WHO: dict[str, Any] = {"actor": "ann", "reason": "new carrier"}


async def migrate(world: World, instance: str, version: str = "2", **steps: str) -> Answer:
    target = await world.engine.program("default", "saga", version)
    return await world.act(instance, MigrateInstance, target=target, steps=steps or STEPS, **WHO)


async def at_ship(world: World) -> str:
    """An instance of version 1 that waits for `ship`, while version 2 is there."""
    await world.deploy(SAGA)
    instance = (await world.start("saga")).instance_id
    for _ in range(2):
        await world.complete(*await world.tasks("w"))
    await world.deploy(OTHER)
    return instance


async def test_it_goes_on_in_the_new_version_at_once_and_after_a_restart() -> None:
    async with World() as world:
        instance = await at_ship(world)
        answer = await migrate(world, instance)
        assert [type(event) for event in answer.events] == [Migrated, StepScheduled]
        assert await world.tasks("w") == []
        [task] = await world.tasks("post")
        assert (task.step, task.attempt, task.idempotency_key) == ("send", 2, f"{instance}/ship#1")
        world.kill()
        async with World(world.faults, world.clock) as again:
            await again.complete(task)
            assert (await again.state(instance)).outcome == "succeeded"
            await again.check(instance)


async def test_a_running_attempt_is_completed_under_its_lease() -> None:
    async with World() as world:
        instance = await at_ship(world)
        [task] = await world.tasks("w")
        await migrate(world, instance)
        [status] = await world.complete(task)
        assert status.status == "accepted"
        assert (await world.state(instance)).data["send"] == {}
        await world.check(instance)


async def test_another_engine_that_has_it_in_its_cache_follows() -> None:
    async with World() as world:
        instance = await at_ship(world)
        other = await world.another()
        await other.change(instance, seen=1)
        await migrate(world, instance)
        await other.change(instance, seen=2)
        [task] = await world.got(
            world.polling("post")
        )  # Its first claim is of what it remembers, and is lost.
        await other.complete(task)
        assert (await world.state(instance)).definition_version == "2"
        await other.engine.stop(0)
        await world.check(instance)


async def test_after_a_conflict_it_is_decided_on_what_there_is_then() -> None:
    async with World() as world:
        instance = await at_ship(world)
        other = await world.another()

        async def overtake(batch: Batch) -> None:
            world.faults.before = None
            await migrate(other, instance)
            raise VersionConflictError(streams=[instance])

        world.faults.before = overtake
        assert (await migrate(world, instance)).events == []
        assert (await world.topics(instance)).count("Migrated") == 1
        await other.engine.stop(0)
        await world.check(instance)


async def test_a_migration_of_unknown_fate_happens_once() -> None:
    async with World() as world:
        instance = await at_ship(world)

        async def unheard(batch: Batch) -> None:
            world.faults.after = None
            raise CommitUnknownError

        world.faults.after = unheard
        assert len((await migrate(world, instance)).events) == 2
        assert (await world.topics(instance)).count("Migrated") == 1
        [task] = await world.tasks("post")
        await world.complete(task)
        await world.check(instance)


async def test_a_refused_one_leaves_it_in_its_version() -> None:
    async with World() as world:
        instance = await at_ship(world)
        with pytest.raises(MigrationRefusedError, match="has no step 'ship'"):
            await migrate(world, instance, charge="charge")
        [task] = await world.tasks("w")
        assert task.step == "ship"
        await world.complete(task)
        await world.check(instance)


async def test_a_dry_run_stores_nothing() -> None:
    async with World() as world:
        instance = await at_ship(world)
        before = await world.topics(instance)
        target = await world.engine.program("default", "saga", "2")

        def make(env: Any) -> MigrateInstance:
            return MigrateInstance(at=env.at, command_id=env.command_id, target=target, steps=STEPS)

        events = await world.engine.preview(instance, make)
        assert [type(event) for event in events] == [Migrated, StepScheduled]
        assert await world.topics(instance) == before
        [task] = await world.tasks("w")
        assert task.step == "ship"


async def test_a_snapshot_behind_a_migration_knows_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "SNAPSHOT_EVERY", 1)
    async with World() as world:
        instance = await at_ship(world)
        await migrate(world, instance)
        world.kill()
        async with World(world.faults, world.clock) as again:
            await again.work("post")
            assert (await again.state(instance)).outcome == "succeeded"
            await again.check(instance)


# Forks -------------------------------------------------------------------------------


async def failed(world: World) -> str:
    await world.deploy(SAGA.replace("name: saga", "name: saga\nonFailure: fail"))
    instance = (await world.start("saga", correlation_id="k")).instance_id
    for _ in range(2):
        await world.complete(*await world.tasks("w"))
    [task] = await world.tasks("w")
    await world.fail(task, retryable=False)
    assert (await world.state(instance)).status == "failed"
    return instance


async def fork(world: World, instance: str, **fields: Any) -> str:
    return (await world.engine.fork(ForkRequest(instance_id=instance, **WHO, **fields))).instance_id


async def test_a_fork_is_one_commit_and_goes_on_under_its_originals_keys() -> None:
    async with World() as world:
        instance = await failed(world)
        before = await world.log(instance)
        commits = len(world.faults.batches)
        new = await fork(world, instance)
        assert len(world.faults.batches) == commits + 1
        assert await world.log(instance) == before
        [task] = await world.tasks("w")
        assert (task.instance_id, task.idempotency_key) == (new, f"{instance}/ship#1")
        await world.complete(task)
        state = await world.state(new)
        assert (state.outcome, state.origin is not None) == ("succeeded", True)
        await world.check(instance, new)


async def test_a_fork_owes_what_it_goes_on_with_also_after_a_crash() -> None:
    async with World() as world:
        instance = await failed(world)
        new = await fork(world, instance)
        world.kill()
        async with World(world.faults, world.clock) as again:
            await again.check(new)
            assert [task.instance_id for task in await again.tasks("w")] == [new]


async def test_the_old_and_the_new_run_beside_each_other() -> None:
    """A fork of one that goes on: leases and results are of each alone."""
    async with World() as world:
        await world.deploy(SAGA)
        instance = (await world.start("saga")).instance_id
        [first] = await world.tasks("w")
        new = await fork(world, instance, version=99)
        [second] = await world.tasks("w")
        assert (second.instance_id, second.attempt, second.idempotency_key) == (new, 2, first.idempotency_key)
        await world.complete(first, second)
        await world.work("w")
        for one in (instance, new):
            assert (await world.state(one)).outcome == "succeeded"
        await world.check(instance, new)


async def test_under_a_key_it_happens_once() -> None:
    async with World() as world:
        instance = await failed(world)
        first = await fork(world, instance, idempotency_key="f1", body_hash="a")
        assert await fork(world, instance, idempotency_key="f1", body_hash="a") == first


async def test_a_fork_of_unknown_fate_happens_once() -> None:
    async with World() as world:
        instance = await failed(world)

        async def unheard(batch: Batch) -> None:
            world.faults.after = None
            raise CommitUnknownError

        world.faults.after = unheard
        new = await fork(world, instance)
        assert [type(event) for event in await world.log(new)].count(Forked) == 1
        assert (await world.work("w"))[0].instance_id == new
        await world.check(new)


async def test_what_cannot_be_forked_makes_no_instance() -> None:
    async with World() as world:
        instance = await failed(world)
        streams = await world.faults.inner.streams("0-")
        with pytest.raises(ForkRefusedError):
            await fork(world, instance, version=10**6)
        with pytest.raises(UnknownInstanceError):
            await fork(world, "0-nowhere")
        assert await world.faults.inner.streams("0-") == streams


async def test_a_fork_of_a_paused_one_is_paused() -> None:
    async with World() as world:
        await world.deploy(SAGA)
        instance = (await world.start("saga")).instance_id
        await world.act(instance, PauseInstance, **WHO)
        new = await fork(world, instance, version=99)
        assert await world.tasks("w") == []
        assert (await world.state(new)).paused
        await world.check(new)
