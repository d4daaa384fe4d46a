"""When the store is away, or its answer is lost: every caller hears the truth, and everything goes on."""

from __future__ import annotations

import pytest

from engine.ports import Batch, CommitUnknownError, StoreUnavailableError
from tests.engine.world import ONE, SAGA, World


@pytest.mark.parametrize("stored", [True, False])
async def test_after_an_unknown_commit_the_caller_hears_the_truth(stored: bool) -> None:
    async with World() as world:
        await world.deploy(ONE)
        polling = world.polling("w")
        await world.settle()

        async def lost(_: Batch) -> None:
            world.faults.before = world.faults.after = None
            raise CommitUnknownError

        if stored:
            world.faults.after = lost
        else:
            world.faults.before = lost
        answer = await world.start("one")
        assert answer.created
        assert answer.position == len(world.faults.inner.log)  # type: ignore[attr-defined]
        [task] = await world.got(polling)
        assert await world.tasks("w") == []
        assert (await world.complete(task))[0].status == "accepted"
        log = await world.topics(answer.instance_id)
        assert log == [
            "InstanceStarted",
            "StatusChanged",
            "StepScheduled",
            "StepStarted",
            "StepCompleted",
            "StatusChanged",
        ]
        await world.check(answer.instance_id)


@pytest.mark.parametrize("stored", [True, False])
async def test_what_nobody_can_know_is_never_called_a_success_or_a_failure(stored: bool) -> None:
    async with World() as world:
        await world.deploy(ONE)
        polling = world.polling("w")
        await world.settle()

        async def lost(_: Batch) -> None:
            world.faults.down = True
            raise CommitUnknownError

        if stored:
            world.faults.after = lost
        else:
            world.faults.before = lost
        with pytest.raises(CommitUnknownError):
            await world.start("one", idempotency_key="k", body_hash="h")
        world.faults.down, world.faults.before, world.faults.after = False, None, None
        answer = await world.start("one", idempotency_key="k", body_hash="h")
        assert answer.created is not stored
        assert await world.faults.inner.streams("0-") == [answer.instance_id]
        await world.pass_time(2)
        [task] = await world.got(polling)
        assert task.attempt == (2 if stored else 1), "a lease that nobody heard of is given back"
        await world.complete(task)
        assert (await world.state(answer.instance_id)).outcome == "succeeded"
        await world.check(answer.instance_id)


async def test_a_lease_whose_commit_comes_late_is_given_back_when_it_has_come() -> None:
    """Seed 10885 (I7): it was given back before it was there, in vain, and then it stood for ever."""
    async with World() as world:
        await world.deploy(ONE)
        answer = await world.start("one")
        late: list[Batch] = []

        async def lost(batch: Batch) -> None:
            late.append(batch)
            world.faults.down = True
            raise CommitUnknownError

        world.faults.before = lost
        polling = world.polling("w", session="alive")
        await world.settle()
        polling.cancel()
        world.faults.down, world.faults.before = False, None
        await world.pass_time(1.5)
        await world.faults.inner.append(late[0])
        await world.pass_time(1.5)
        [task] = await world.tasks("w", session="alive")
        assert task.attempt == 2
        await world.complete(task)
        assert (await world.state(answer.instance_id)).outcome == "succeeded"
        assert world.engine._workers.undelivered == {}


async def test_while_the_store_is_away_callers_hear_so_and_afterwards_everything_goes_on() -> None:
    async with World() as world:
        await world.deploy(SAGA)
        started = await world.start("saga")
        [task] = await world.tasks("w")
        waiting = world.polling("w", session="other")
        await world.settle()
        world.faults.down = True
        with pytest.raises(StoreUnavailableError):
            await world.start("saga")
        with pytest.raises(StoreUnavailableError):
            await world.complete(task)
        await world.pass_time(1)
        assert not waiting.done(), "polls keep waiting"
        world.faults.down = False
        await world.check(started.instance_id)
        assert (await world.complete(task))[0].status == "accepted"
        [task] = await world.got(waiting)
        assert task.step == "reserve"
        await world.complete(task)
        await world.work("w")
        assert (await world.state(started.instance_id)).outcome == "succeeded"
        assert len(await world.topics(started.instance_id)) == 12


async def test_a_ready_task_whose_claim_failed_is_handed_out_when_the_store_is_back() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await world.start("one")

        async def away(_: Batch) -> None:
            raise StoreUnavailableError(problem="test")

        world.faults.before = away
        waiting = world.polling("w", max_tasks=1)
        await world.settle()
        world.faults.before = None
        await world.pass_time(0.6)
        assert len(await world.got(waiting)) == 1


async def test_the_loop_does_not_spin_while_the_store_is_away() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await world.start("one")
        tries = 0

        async def away(_: Batch) -> None:
            nonlocal tries
            tries += 1
            raise StoreUnavailableError(problem="test")

        world.faults.before = away
        waiting = world.polling("w")
        await world.pass_time(5)
        assert 5 <= tries <= 15, "about two tries a second"
        waiting.cancel()
        world.faults.before = None
