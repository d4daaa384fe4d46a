"""The worker protocol: who gets which task when, what a result is told, and that no lease is lost on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from domain.commands import CancelInstance, LoseLease
from domain.events import ResultIgnored, StepFailed, StepStarted
from engine.messages import PollAnswer, TaskResult
from engine.ports import Batch, StoreUnavailableError
from tests.engine.world import ONE, SAGA, World, done, failed, failures

QUEUES = """
name: queues
steps:
  - id: all
    type: parallel
    branches:
      a: [{id: a, type: task, action: worker:a/a}]
      b: [{id: b, type: task, action: worker:b/b}]
"""
PRIORITIES = """
name: urgent
steps: [{id: work, type: task, action: worker:w/work, priority: $.input.priority}]
"""
BEATING = """
name: beating
steps:
  - id: work
    type: task
    action: worker:w/work
    heartbeat: 2s
    retryPolicy: {maxAttempts: 2, initialInterval: 1s}
"""


def statuses(answer: PollAnswer) -> list[str]:
    return [result.status for result in answer.results]


class Gate:
    """Holds every append, after it was stored."""

    def __init__(self, world: World) -> None:
        self.opened = asyncio.Event()
        world.faults.after = self.wait

    async def wait(self, _: Batch) -> None:
        await self.opened.wait()


# Polls -------------------------------------------------------------------------------


async def test_a_long_poll_wakes_when_a_task_is_scheduled() -> None:
    async with World() as world:
        await world.deploy(ONE)
        polling = world.polling("w")
        await world.settle()
        assert not polling.done()
        started = await world.start("one")
        [task] = await world.got(polling)
        assert (task.instance_id, task.step, task.attempt, task.activity) == (
            started.instance_id,
            "work",
            1,
            "work",
        )
        assert task.idempotency_key == f"{started.instance_id}/work#1"


async def test_a_long_poll_ends_empty_when_its_time_is_over() -> None:
    async with World() as world:
        polling = world.polling("w", wait=3.0)
        await world.pass_time(2.9)
        assert not polling.done()
        await world.pass_time(0.2)
        assert await world.got(polling) == []
        assert world.engine._loop.board.everyone() == []


async def test_a_poll_without_wait_takes_what_is_there_and_no_time() -> None:
    async with World() as world:
        await world.deploy(ONE)
        before = world.clock.now()
        assert await world.tasks("w") == []
        await world.start("one")
        assert len(await world.tasks("w")) == 1
        assert world.clock.now() == before


async def test_a_poll_for_no_tasks_only_brings_results() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await asyncio.gather(world.start("one"), world.start("one"))
        [task] = await world.tasks("w", max_tasks=1)
        answer = await world.poll("w", max_tasks=0, wait=30, results=[done(task)])
        assert (answer.tasks, statuses(answer)) == ([], ["accepted"])


async def test_priority_goes_first_then_age() -> None:
    async with World() as world:
        await world.deploy(PRIORITIES)
        started = []
        for priority in ("low", "normal", "high", "normal", "high"):
            started.append((await world.start("urgent", {"priority": priority})).instance_id)
            await world.pass_time(0.01)
        tasks = [(await world.tasks("w", max_tasks=1))[0].instance_id for _ in started]
        assert tasks == [started[number] for number in (2, 4, 1, 3, 0)]


async def test_priority_goes_first_among_what_becomes_ready_at_once() -> None:
    async with World() as world:
        await world.deploy(PRIORITIES)
        polling = world.polling("w", max_tasks=1)
        await world.settle()
        await asyncio.gather(
            *(world.start("urgent", {"priority": priority}) for priority in ("low", "high", "normal"))
        )
        assert [task.priority for task in await world.got(polling)] == ["high"]


async def test_a_worker_is_served_from_all_its_queues_in_turn() -> None:
    async with World() as world:
        await world.deploy(QUEUES)
        for _ in range(6):
            await world.start("queues")
        together = await world.tasks("a", "b", max_tasks=4)
        assert sorted(task.step for task in together) == ["a", "a", "b", "b"]
        singly = [(await world.tasks("a", "b", max_tasks=1))[0].step for _ in range(4)]
        assert sorted(singly) == ["a", "a", "b", "b"]


async def test_tasks_go_to_the_poll_that_has_waited_longest_and_each_to_one() -> None:
    async with World() as world:
        await world.deploy(ONE)
        polls = [world.polling("w", session=f"s{number}", max_tasks=2) for number in range(3)]
        await world.settle()
        await asyncio.gather(*(world.start("one") for _ in range(3)))
        await world.settle()
        assert [len(poll.result().tasks) if poll.done() else None for poll in polls] == [2, 1, None]
        polls[2].cancel()


async def test_a_poll_that_got_nothing_of_a_failed_batch_still_waits() -> None:
    """Its place was taken by a claim that came to nothing: it must be in the list again."""
    async with World() as world:
        await world.deploy(ONE)
        polling = world.polling("w", max_tasks=1)
        await world.settle()

        async def away(_: Batch) -> None:
            world.faults.before = None
            raise StoreUnavailableError(problem="test")

        world.faults.before = away
        with pytest.raises(StoreUnavailableError):
            await world.start("one")
        started = await world.start("one")
        assert (await world.got(polling))[0].instance_id == started.instance_id


async def test_ended_polls_leave_nothing_behind() -> None:
    """Behind one that waits long, hundreds that did not: the board remembers none of their results."""
    async with World() as world:
        patient = world.polling("w", wait=60)
        for _ in range(300):
            await world.tasks("w")
        quick = [world.polling("w", wait=1) for _ in range(300)]
        await world.settle()
        for each in quick[:150]:
            each.cancel()
        await world.pass_time(1.1)
        assert len(world.engine._loop.board.everyone()) == 1
        patient.cancel()


# Results -----------------------------------------------------------------------------


async def test_results_that_come_with_a_poll_are_told_and_lead_to_its_tasks() -> None:
    async with World() as world:
        await world.deploy(SAGA)
        await world.start("saga")
        [task] = await world.tasks("w")
        world.faults.batches.clear()
        answer = await world.poll("w", results=[done(task)])
        assert statuses(answer) == ["accepted"]
        assert [task.step for task in answer.tasks] == ["reserve"]
        assert len(world.faults.batches) == 1


async def test_a_duplicate_yields_no_event_and_a_late_result_is_recorded_once() -> None:
    async with World() as world:
        await world.deploy(SAGA)
        id = (await world.start("saga")).instance_id
        [first] = await world.tasks("w")
        await world.fail(first)
        await world.pass_time(1)
        [second] = await world.tasks("w")
        assert second.attempt == 2
        [late] = await world.complete(first)
        assert late.status == "duplicate", "attempt 1 has its result: it failed"
        await world.complete(second)
        version = (await world.state(id)).version
        assert (await world.complete(second))[0].status == "duplicate"
        assert (await world.state(id)).version == version
        await world.check(id)


async def test_a_result_under_a_lost_lease_is_ignored_and_recorded_once() -> None:
    async with World(lease_seconds=2) as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        [zombie] = await world.tasks("w", session="zombie")
        await world.pass_time(4)
        [task] = await world.tasks("w", session="alive")
        assert [status.status for status in await world.complete(zombie, zombie)] == ["ignored", "duplicate"]
        assert (await world.complete(zombie))[0].status == "duplicate"
        ignored = [event for event in await world.log(id) if isinstance(event, ResultIgnored)]
        assert [event.attempt for event in ignored] == [1]
        assert (await world.complete(task))[0].status == "accepted"
        await world.check(id)


async def test_a_forged_token_is_refused_and_the_other_items_are_not() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await world.start("one")
        [task] = await world.tasks("w")
        forged = [
            TaskResult(token=token)
            for token in ("", "x", task.token[:-1] + "9", "0" + task.token, "\ud800|1|s|i|e")
        ]
        answer = await world.poll(results=[*forged, done(task)], max_tasks=0)
        assert statuses(answer) == ["refused"] * 5 + ["accepted"]


async def test_an_output_that_cannot_be_stored_is_refused_and_the_other_items_are_not() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await asyncio.gather(world.start("one"), world.start("one"))
        first, second = await world.tasks("w")
        results = await world.engine.report([done(first, "a\0"), done(second, "a")])
        assert [result.status for result in results] == ["refused", "accepted"]
        assert (await world.fail(first, retryable=False)).status == "accepted", "the lease is still held"


# Connections that drop -----------------------------------------------------------------


@pytest.mark.parametrize("moment", ["waiting", "being stored", "stored"])
async def test_a_poll_whose_connection_drops_gives_back_what_it_was_about_to_get(moment: str) -> None:
    async with World() as world:
        await world.deploy(ONE)
        gate = Gate(world)
        gate.opened.set()
        polling = world.polling("w", session="gone")
        await world.settle()
        gate.opened.clear()
        if moment == "waiting":
            polling.cancel()
        starting = asyncio.ensure_future(world.start("one"))
        await world.settle()
        if moment == "being stored":
            polling.cancel()
            await world.settle()
        gate.opened.set()
        started = await starting
        if moment == "stored":
            polling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await polling
        await world.settle()
        [task] = await world.tasks("w")
        assert task.attempt == (1 if moment == "waiting" else 2), (
            "given back at once, without waiting for the lease"
        )
        assert failures(await world.log(started.instance_id)) == (
            [] if moment == "waiting" else ["leaseLost"]
        )
        await world.check(started.instance_id)


async def test_what_was_meant_for_a_dropped_poll_but_not_claimed_yet_is_not_claimed() -> None:
    """A lease given back counts as lost, so it is better not to take it."""
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        world.engine._loop.decider.cache.drop([id])
        gate = asyncio.Event()
        world.faults.reading = gate.wait
        polling = world.polling("w", session="gone")
        await world.settle()
        polling.cancel()
        await world.settle()
        gate.set()
        assert [task.attempt for task in await world.tasks("w")] == [1]
        assert failures(await world.log(id)) == []


async def test_a_poll_that_is_dropped_while_it_waits_for_its_last_batch_gives_back_too() -> None:
    """Its time is over, a task is on its way, and then the connection drops."""
    async with World() as world:
        await world.deploy(ONE)
        gate = Gate(world)
        gate.opened.set()
        polling = world.polling("w", wait=1.0, session="gone")
        await world.settle()
        gate.opened.clear()
        starting = asyncio.ensure_future(world.start("one"))
        await world.pass_time(1.5)
        assert not polling.done()
        polling.cancel()
        await world.settle()
        gate.opened.set()
        await starting
        await world.settle()
        assert [task.attempt for task in await world.tasks("w")] == [2]


async def test_a_lease_is_given_back_even_if_the_store_is_away_when_the_connection_drops() -> None:
    async with World() as world:
        await world.deploy(ONE)
        gate = Gate(world)
        gate.opened.set()
        polling = world.polling("w", session="alive")
        await world.settle()
        gate.opened.clear()
        starting = asyncio.ensure_future(world.start("one"))
        await world.settle()
        polling.cancel()
        await world.settle()
        gate.opened.set()
        world.faults.down = True
        await starting
        await world.pass_time(1.5)
        world.faults.down = False
        await world.pass_time(1.5)
        assert [task.attempt for task in await world.tasks("w", session="alive")] == [2]
        assert world.engine._workers.undelivered == {}


async def test_tasks_are_not_lost_with_a_poll_whose_results_could_not_be_stored() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await world.start("one")
        [task] = await world.tasks("w")

        async def away(_: Batch) -> None:
            world.faults.before = None
            raise StoreUnavailableError(problem="test")

        world.faults.before = away
        polling = world.polling("w", results=[done(task)])
        with pytest.raises(StoreUnavailableError):
            await polling
        await world.start("one")
        [other] = await world.tasks("w")
        assert other.attempt == 1
        assert (await world.complete(task))[0].status == "accepted", "a result may be sent again"


# Heartbeats --------------------------------------------------------------------------


async def test_a_beat_hears_what_became_of_its_lease() -> None:
    async with World(lease_seconds=2) as world:
        await world.deploy(ONE)
        ids = [(await world.start("one")).instance_id for _ in range(3)]
        tasks = {task.instance_id: task for task in await world.tasks("w", session="a")}
        kept, cancelled, lost = (tasks[id] for id in ids)
        await world.act(ids[1], CancelInstance, actor="a", reason="r")
        await world.engine.act(ids[2], lambda env: _loses(env, lost))
        world.faults.calls.clear()
        answers = await world.beat(kept, cancelled, lost, session="a")
        assert [answer.status for answer in answers] == ["ok", "cancelled", "lost"]
        forged = TaskResult(token="x|1|a|b|c")
        [refused] = await world.beat(forged, session="a")  # type: ignore[arg-type]
        assert refused.status == "refused"


async def test_beats_cost_one_question_however_many_they_are() -> None:
    async with World() as world:
        await world.deploy(ONE)
        for _ in range(20):
            await world.start("one")
        tasks = await world.tasks("w", max_tasks=20)
        world.faults.calls.clear()
        answers = await world.beat(*tasks)
        assert [answer.status for answer in answers] == ["ok"] * 20
        assert world.faults.calls == ["owed_under"]


async def test_bare_beats_keep_a_heartbeat_timeout_away_and_silence_brings_it() -> None:
    async with World() as world:
        await world.deploy(BEATING)
        id = (await world.start("beating")).instance_id
        [task] = await world.tasks("w")
        for _ in range(8):
            await world.pass_time(1)
            assert (await world.beat(task))[0].status == "ok"
        assert failures(await world.log(id)) == []
        assert (await world.topics(id)).count("StepProgressed") == 0, "a bare beat only moves a time"
        await world.pass_time(1.9)
        await world.beat(session="s")
        assert failures(await world.log(id)) == []
        await world.pass_time(0.2)
        assert failures(await world.log(id)) == ["heartbeat"], "the session lives, the step is silent"
        assert (await world.beat(task))[0].status == "lost"


async def test_progress_is_stored_and_reaches_the_next_attempt() -> None:
    async with World() as world:
        await world.deploy(BEATING)
        id = (await world.start("beating")).instance_id
        [task] = await world.tasks("w")
        assert task.progress is None
        for _ in range(2):
            assert (await world.beat(task, progress={"page": 7}))[0].status == "ok"
        assert (await world.topics(id)).count("StepProgressed") == 1, "the same again is no event"
        await world.fail(task)
        await world.pass_time(1)
        [again] = await world.tasks("w")
        assert (again.attempt, again.progress) == (2, {"page": 7})
        assert (await world.beat(task, progress={"page": 8}))[0].status == "lost"
        await world.check(id)


async def test_a_worker_that_beats_at_another_server_is_not_silent_here() -> None:
    """Both servers watch every timer, but bare beats move a time in one of them only."""
    async with World() as world:
        await world.deploy(BEATING)
        id = (await world.start("beating")).instance_id
        other = await world.another()
        [task] = await world.tasks("w")
        for _ in range(20):
            await world.pass_time(1)
            assert (await world.beat(task))[0].status == "ok"
        assert failures(await world.log(id)) == []
        await other.engine.stop(0)


async def test_what_is_remembered_of_beats_goes_with_the_lease() -> None:
    async with World() as world:
        await world.deploy(ONE)
        await world.start("one")
        [task] = await world.tasks("w")
        await world.beat(task)
        assert list(world.engine._workers._pulses) == [task.token]
        await world.complete(task)
        assert not world.engine._workers._pulses


async def test_a_failure_with_retry_after_is_tried_again_then() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        [task] = await world.tasks("w")
        await world.engine.report([failed(task, retry_after_ms=7_000)])
        [failure] = [event for event in await world.log(id) if isinstance(event, StepFailed)]
        assert failure.retry_at is not None
        assert (failure.retry_at - world.clock.now()).total_seconds() == 7
        await world.pass_time(6.9)
        assert await world.tasks("w") == []
        await world.pass_time(0.2)
        assert [task.attempt for task in await world.tasks("w")] == [2]
        assert len([event for event in await world.log(id) if isinstance(event, StepStarted)]) == 2


def _loses(env: Any, task: Any) -> Any:
    return LoseLease(
        at=env.at, command_id=env.command_id, execution=task.execution, attempt=task.attempt, token=task.token
    )
