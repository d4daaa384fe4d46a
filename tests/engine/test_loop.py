"""The loop: one transaction per hand-over, nothing leaves before its commit, every caller hears the truth."""

from __future__ import annotations

import asyncio

import pytest

from domain.commands import Command, PauseInstance
from domain.errors import SchemaMismatchError, TenutoError, UnknownInstanceError
from engine.cache import SNAPSHOT_EVERY
from engine.draft import Request
from engine.errors import OverloadedError, StoppedError, WrongVersionError
from engine.loop import MAX_INBOX
from engine.messages import Answer, Envelope, PollAnswer, StartRequest
from engine.ports import Batch, Recorded, StoreUnavailableError
from engine.pressure import MANY
from tests.engine.world import ONE, SAGA, World, done, when_open

HAPPY = [
    "InstanceStarted",
    "StatusChanged",
    *["StepScheduled", "StepStarted", "StepCompleted"] * 3,
    "StatusChanged",
]
STRICT = "{name: strict, inputSchema: {type: object, required: [a]}, steps: [{id: done, type: succeed}]}"


def topics_in(batch: Batch) -> list[str]:
    return [event.topic for event in batch.events]


async def test_three_happy_steps_are_exactly_twelve_events_one_transaction_per_hand_over() -> None:
    async with World() as world:
        await world.deploy(SAGA)
        polling = world.polling("w")
        await world.settle()
        world.faults.batches.clear()
        started = await world.start("saga")
        for _ in range(3):
            [task] = await world.got(polling)
            polling = world.polling("w", results=[done(task)])
            await world.settle()
        assert await world.topics(started.instance_id) == HAPPY
        assert [topics_in(batch) for batch in world.faults.batches] == [
            ["InstanceStarted", "StatusChanged", "StepScheduled", "StepStarted"],
            ["StepCompleted", "StepScheduled", "StepStarted"],
            ["StepCompleted", "StepScheduled", "StepStarted"],
            ["StepCompleted", "StatusChanged"],
        ]
        await world.check(started.instance_id)
        polling.cancel()


async def test_commands_that_arrive_together_are_stored_together() -> None:
    async with World() as world:
        await world.deploy(ONE)
        world.faults.batches.clear()
        answers = await asyncio.gather(*(world.start("one") for _ in range(50)))
        assert len({answer.instance_id for answer in answers}) == 50
        assert len(world.faults.batches) == 1


async def test_nothing_leaves_before_its_append_returns() -> None:
    """No answer, no refusal, no duplicate and no task, as long as the store has not said that it is durable."""
    async with World() as world:
        await world.deploy(ONE)
        first = await world.start("one")
        [task] = await world.tasks("w")
        gate = asyncio.Event()
        world.faults.after = when_open(gate)
        wants = [
            world.start("one"),
            world.complete(task),
            world.complete(task),  # A duplicate of the one before.
            world.act(
                first.instance_id, PauseInstance, actor="a", reason="r"
            ),  # Refused: it has ended by then.
            world.polling("w"),
        ]
        asked = [asyncio.ensure_future(want) for want in wants]
        await world.settle()
        assert not any(each.done() for each in asked)
        assert (await world.state(first.instance_id)).ended, "what is read is what is in the log"
        gate.set()
        started, completed, again, paused, polled = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(started, Answer)
        assert isinstance(polled, PollAnswer)
        assert [status.status for status in completed + again] == ["accepted", "duplicate"]  # type: ignore[operator]
        assert isinstance(paused, TenutoError)
        assert polled.tasks[0].instance_id == started.instance_id


async def test_reads_never_show_what_is_decided_but_not_stored() -> None:
    async with World() as world:
        await world.deploy(ONE)
        first = await world.start("one")
        gate = asyncio.Event()
        world.faults.before = when_open(gate)
        change = asyncio.ensure_future(world.change(first.instance_id, a=1))
        await world.settle()
        assert "a" not in (await world.state(first.instance_id)).data
        gate.set()
        await change
        assert (await world.state(first.instance_id)).data["a"] == 1


async def test_a_busy_engine_waits_a_little_for_more_before_it_commits() -> None:
    async with World(gather_seconds=0.001) as world:
        await world.deploy(ONE)
        await asyncio.gather(*(world.start("one") for _ in range(MANY)))
        world.faults.batches.clear()
        first = asyncio.ensure_future(world.start("one"))
        await world.settle()
        second = asyncio.ensure_future(world.start("one"))
        await world.settle()
        assert not first.done()
        await world.pass_time(0.001)
        assert [(await each).created for each in (first, second)] == [True, True]
        assert len(world.faults.batches) == 1
        assert (await world.start("one")).created, "what comes when it is quiet again need not wait"


async def test_who_asks_for_an_instance_in_the_batch_that_starts_it_does_not_keep_it_from_starting() -> None:
    """Found by the simulator (seed 2497): the id of a child is known before it is there, and a parent may ask."""
    async with World() as world:
        await world.deploy(ONE)
        gate = asyncio.Event()
        world.faults.before = when_open(gate)
        another = asyncio.ensure_future(world.start("one"))
        await world.settle()
        id = world.engine.new_instance_id()
        asked = asyncio.ensure_future(world.act(id, PauseInstance, actor="test", reason="test"))
        await world.settle()
        request = StartRequest(namespace="default", definition="one", input={})
        started = asyncio.ensure_future(world.engine.start_instance(request, id))
        await world.settle()
        gate.set()
        assert (await another).created
        assert (await started).created
        with pytest.raises(UnknownInstanceError):
            await asked


async def test_a_refusal_changes_nothing_and_leaves_the_batch_alone() -> None:
    async with World() as world:
        await world.deploy(ONE, STRICT)
        outcomes = await asyncio.gather(
            world.start("one"), world.start("strict"), world.start("one"), return_exceptions=True
        )
        assert isinstance(outcomes[1], SchemaMismatchError)
        assert all(isinstance(outcome, Answer) for outcome in (outcomes[0], outcomes[2]))
        world.faults.calls.clear()
        with pytest.raises(UnknownInstanceError):
            await world.act("0-unknown", PauseInstance, actor="a", reason="r")
        assert world.faults.calls == ["load"], "what was just read needs no second look"


async def test_an_instance_that_was_unknown_is_known_as_soon_as_another_server_starts_it() -> None:
    async with World() as world:
        await world.deploy(ONE)
        other = await world.another()
        made = asyncio.Event()
        started = await other.start("one")
        id = started.instance_id
        made.set()
        later = id[:-1] + ("0" if id[-1] != "0" else "1")
        with pytest.raises(UnknownInstanceError):
            await world.act(later, PauseInstance, actor="a", reason="r")
        recorded = [
            Recorded(later, each.version, each.topic, each.payload)
            for each in await world.faults.inner.read(id)
        ]
        await world.faults.inner.append(Batch(events=recorded))
        assert (await world.act(later, PauseInstance, actor="a", reason="r")).events
        await other.engine.stop(0)


# Bounds


async def test_the_inbox_is_bounded() -> None:
    async with World() as world:
        await world.deploy(ONE)

        def change(env: Envelope) -> Command:
            raise AssertionError("never decided")

        for _ in range(MAX_INBOX):
            world.engine._loop._inbox.append(Request(stream="0-x", make=change))
        with pytest.raises(OverloadedError):
            await world.start("one")
        world.engine._loop._inbox.clear()


async def test_a_stopped_engine_answers_everybody() -> None:
    world = World()
    async with world:
        await world.deploy(ONE)
        polling = world.polling("w")
        await world.settle()
        gate = asyncio.Event()
        world.faults.before = when_open(gate)
        stored = asyncio.ensure_future(world.start("one"))
        await world.settle()
        waiting = asyncio.ensure_future(world.start("one"))
        await world.settle()
        stopping = asyncio.ensure_future(world.engine.stop(0))
        await world.settle()
        gate.set()
        await stopping
        assert (await stored).created, "the batch under way ends"
        with pytest.raises(StoppedError):
            await waiting
        assert len(await world.got(polling)) == 1
        with pytest.raises(StoppedError):
            await world.tasks("w")


async def test_the_cache_holds_no_instances_that_do_not_exist_or_have_ended() -> None:
    async with World() as world:
        await world.deploy(ONE, STRICT)
        with pytest.raises(SchemaMismatchError):
            await world.start("strict")
        for number in range(5):
            with pytest.raises(UnknownInstanceError):
                await world.act(f"0-{number}", PauseInstance, actor="a", reason="r")
        await world.start("one")
        await world.work("w")
        assert len(world.engine._loop.decider.cache) == 0


async def test_a_snapshot_is_taken_of_what_is_stored_never_of_what_failed() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        for number in range(SNAPSHOT_EVERY):
            if number == SNAPSHOT_EVERY - 2:

                async def away(_: Batch) -> None:
                    raise StoreUnavailableError(problem="test")

                world.faults.before = away
                with pytest.raises(StoreUnavailableError):
                    await world.change(id, never=1)
                world.faults.before = None
            await world.change(id, n=number)
        world.engine._loop.decider.cache.drop([id])
        for number in range(SNAPSHOT_EVERY + 5):
            await world.change(id, n=number)
        loaded = (await world.faults.inner.load([id]))[id]
        assert loaded.snapshot is not None
        assert len(loaded.events) < SNAPSHOT_EVERY
        state = await world.state(id)
        assert state.data["n"] == SNAPSHOT_EVERY + 4
        assert "never" not in state.data
        await world.check(id)


async def test_of_two_who_expect_the_same_version_in_one_batch_one_is_refused() -> None:
    """`If-Match` is checked where the command is decided: there is no moment in between."""

    def pause(envelope: Envelope) -> Command:
        return PauseInstance(
            at=envelope.at, command_id=envelope.command_id, actor="ann", reason=envelope.command_id
        )

    async with World() as world:
        await world.deploy(ONE)
        started = await world.start("one")
        acts = [world.engine.act(started.instance_id, pause, expected_version=started.version) for _ in "ab"]
        first, second = await asyncio.gather(*acts, return_exceptions=True)
        assert isinstance(first, Answer)
        assert isinstance(second, WrongVersionError)
        assert second.details == {
            "instance_id": started.instance_id,
            "expected": started.version,
            "actual": started.version + 1,
        }
