"""What happens by the clock: lost sessions, timers in order and never early, all of it after a restart too."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from domain.commands import PauseInstance, ResumeInstance, SendSignal
from domain.events import StatusChanged, StepFailed, WaitEnded
from engine.messages import Answer
from engine.ports import Batch, Recorded
from engine.sessions import ENGINE_PREFIX
from engine.upkeep import TIMERS_AT_ONCE
from tests.engine.world import NOON, ONE, World, failures, when_open

RETRIED = """
name: retried
steps:
  - id: work
    type: task
    action: worker:w/work
    retryPolicy: {maxAttempts: 4, initialInterval: 2s, backoffCoefficient: 2}
"""
TIMEOUT = """
name: timeout
steps: [{id: work, type: task, action: worker:w/work, timeout: 5s, retryPolicy: {maxAttempts: 1}}]
"""
QUEUED = """
name: queued
steps: [{id: work, type: task, action: worker:nobody/work, scheduleToStart: 7s, retryPolicy: {maxAttempts: 1}}]
"""
WAIT = """
name: wait
steps:
  - {id: nap, type: wait, for: $.input.for, next: work}
  - {id: work, type: task, action: worker:w/work}
"""
SIGNAL = """
name: asks
timeout: 90s
steps:
  - {id: approval, type: wait, signal: approve, for: 30s, onTimeout: late}
  - {id: late, type: fail, error: {type: Late, message: late}}
"""
LIMITED = """
name: limited
timeout: 20s
steps: [{id: work, type: task, action: worker:w/work}]
"""
DEADLINE = """
name: deadline
deadlines: {shipBy: {after: start, within: 100s, reach: {step: work}, escalate: [50, 80, 100]}}
steps: [{id: work, type: task, action: worker:w/work}]
"""
LONG = """
name: long
steps: [{id: nap, type: wait, for: 10m, next: done}, {id: done, type: succeed}]
"""


async def ended(world: World, answer: Answer) -> float | None:
    """Seconds since noon at which it ended."""
    at = (await world.state(answer.instance_id)).ended_at
    return None if at is None else (at - NOON).total_seconds()


# Sessions ----------------------------------------------------------------------------


async def test_a_session_that_is_not_heard_of_loses_its_leases_and_others_take_over_at_once() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        await world.tasks("w", session="dies")
        waiting = world.polling("w", session="lives", wait=30)
        await world.pass_time(4.9)
        assert failures(await world.log(id)) == []
        await world.pass_time(1.2)
        [task] = await world.got(waiting)
        assert task.attempt == 2
        assert failures(await world.log(id)) == ["leaseLost"]
        await world.check(id)


async def test_any_call_that_names_a_session_keeps_its_leases() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        [task] = await world.tasks("w", session="s")
        for number in range(20):
            await world.pass_time(1)
            await (world.beat(session="s") if number % 2 else world.poll("other", session="s"))
        assert failures(await world.log(id)) == []
        assert (await world.complete(task))[0].status == "accepted"


async def test_a_worker_that_waits_is_alive_to_every_server_when_its_task_comes() -> None:
    """It has said nothing for longer than a lease, and may not lose what it is just being handed."""
    async with World() as world:
        await world.deploy(ONE)
        other = await world.another()
        polling = world.polling("w", session="idle", wait=60)
        await world.pass_time(30)
        gate = asyncio.Event()
        world.faults.after = when_open(gate)  # It is stored, and not answered.
        starting = asyncio.ensure_future(world.start("one"))
        await world.settle()
        await other.engine._upkeep.end_lost_leases()
        await world.engine._upkeep.end_lost_leases()
        await world.settle()
        gate.set()
        id = (await starting).instance_id
        assert failures(await world.log(id)) == []
        [task] = await world.got(polling)
        assert (await world.complete(task))[0].status == "accepted"
        await other.engine.stop(0)


async def test_a_task_gives_its_session_a_whole_lease_to_be_heard_in() -> None:
    async with World() as world:
        await world.deploy(ONE)
        for number in range(8):
            polling = world.polling("w", session=f"s{number}", wait=60)
            await world.pass_time(10 + number / 4)
            id = (await world.start("one")).instance_id
            [task] = await world.got(polling)
            await world.pass_time(4.9)
            assert failures(await world.log(id)) == []
            await world.complete(task)


async def test_renewals_reach_the_table_in_batches_and_in_time() -> None:
    async with World() as world:
        for number in range(50):
            await world.poll("w", session=f"s{number}")
        await world.pass_time(1)
        world.faults.calls.clear()
        for _ in range(10):
            for number in range(50):
                await world.poll("w", session=f"s{number}")
            await world.pass_time(0.5)
        assert 4 <= world.faults.calls.count("renew") <= 6, "one a second, not one a call"


async def test_another_server_knows_who_speaks_to_this_one() -> None:
    async with World() as world:
        await world.deploy(ONE)
        other = await world.another()
        id = (await world.start("one")).instance_id
        [task] = await world.tasks("w")
        for _ in range(15):
            await world.pass_time(1)
            await world.beat(task)
        assert failures(await world.log(id)) == []
        await world.pass_time(7)
        assert failures(await world.log(id)) == ["leaseLost"], "one of the two, once"
        await other.engine.stop(0)


async def test_a_restart_gives_workers_their_time_anew_but_not_dead_engines() -> None:
    world = World()
    async with world:
        await world.deploy(ONE)
        remote = (await world.start("one")).instance_id
        await world.tasks("w", session="remote")
        dispatched = (await world.start("one")).instance_id
        await world.tasks("w", session=f"{ENGINE_PREFIX}dead")
        world.kill()
    await world.pass_time(60)
    async with World(world.faults, world.clock) as again:
        await again.pass_time(1.5)
        assert failures(await again.log(dispatched)) == ["leaseLost"]
        assert failures(await again.log(remote)) == []
        await again.pass_time(2)
        await again.beat(session="remote")
        await again.pass_time(4)
        assert failures(await again.log(remote)) == [], "it came back in time"
        await again.pass_time(4)
        assert failures(await again.log(remote)) == ["leaseLost"]


async def test_nobody_is_lost_while_nobody_could_listen() -> None:
    """The store was away for longer than a lease: then silence says nothing about the workers."""
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        other = await world.another()
        [task] = await world.tasks("w")
        await world.pass_time(1)
        world.faults.down = other.faults.down = True
        for _ in range(12):
            await world.pass_time(1)
            await world.engine._sessions.touch("s", "w1")  # It beats, and is heard; the table cannot be told.
        world.faults.down = other.faults.down = False
        await world.pass_time(2)
        assert failures(await world.log(id)) == []
        assert (await world.complete(task))[0].status == "accepted"
        await other.engine.stop(0)


async def test_a_process_that_stood_still_does_not_think_that_everybody_is_gone() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        [task] = await world.tasks("w")
        await world.pass_time(1)
        world.clock.advance(timedelta(minutes=1))  # type: ignore[attr-defined]  # SIGSTOP, and SIGCONT.
        await world.settle()
        assert (await world.beat(task))[0].status == "ok"
        await world.pass_time(3)
        assert failures(await world.log(id)) == []


# Timers ------------------------------------------------------------------------------


async def test_retries_come_after_their_back_off_and_not_early() -> None:
    async with World() as world:
        await world.deploy(RETRIED)
        id = (await world.start("retried")).instance_id
        seen = []
        for _ in range(4):
            polling = world.polling("w", wait=60)
            for _ in range(100):
                await world.pass_time(0.1)
                await world.beat(session="s")
                if polling.done():
                    break
            [task] = polling.result().tasks
            seen.append(round((world.clock.now() - NOON).total_seconds(), 1))
            await world.fail(task)
        assert seen == [0.1, 2.1, 6.1, 14.1]
        assert (await world.state(id)).status == "failed"
        await world.check(id)


async def test_each_limit_fires_when_it_is_over_and_not_before() -> None:
    async with World(lease_seconds=100) as world:
        await world.deploy(TIMEOUT, QUEUED, WAIT, SIGNAL, LIMITED)
        timed = await world.start("timeout")
        limited = await world.start("limited")
        await world.tasks("w")
        queued = await world.start("queued")
        asks = await world.start("asks")
        for answer, limit in ((timed, 5), (queued, 7), (limited, 20), (asks, 30)):
            await world.pass_time(limit - (world.clock.now() - NOON).total_seconds() - 0.001)
            assert await ended(world, answer) is None
            await world.pass_time(0.001)
            assert await ended(world, answer) == limit
        assert failures(await world.log(timed.instance_id)) == ["startToClose"]
        assert failures(await world.log(queued.instance_id)) == ["scheduleToStart"]
        assert (await world.state(limited.instance_id)).outcome == "timed_out"
        await world.check(*(answer.instance_id for answer in (timed, queued, limited, asks)))


async def test_an_earlier_timer_that_comes_later_is_not_kept_waiting() -> None:
    async with World() as world:
        await world.deploy(WAIT)
        await world.start("wait", {"for": "50s"})
        await world.pass_time(0.5)
        early = (await world.start("wait", {"for": "250ms"})).instance_id
        await world.pass_time(0.25)
        [event] = [event for event in await world.log(early) if isinstance(event, WaitEnded)]
        assert event.at == NOON + timedelta(milliseconds=750)


async def test_an_instance_begins_when_its_time_has_come() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one", start_at=NOON + timedelta(seconds=90))).instance_id
        await world.pass_time(89.9)
        assert (await world.state(id)).status == "pending"
        await world.pass_time(0.2)
        [begun] = [event for event in await world.log(id) if isinstance(event, StatusChanged)]
        assert begun.at == NOON + timedelta(seconds=90)
        assert len(await world.tasks("w")) == 1


async def test_a_deadline_escalates_and_is_missed_in_order() -> None:
    async with World() as world:
        await world.deploy(DEADLINE)
        id = (await world.start("deadline")).instance_id
        seen = []
        for _ in range(11):
            await world.pass_time(10)
            topics = await world.topics(id)
            seen.append((topics.count("DeadlineEscalated"), topics.count("DeadlineMissed")))
        assert seen == [(0, 0)] * 4 + [(1, 0)] * 3 + [(2, 0)] * 2 + [(3, 1)] * 2
        await world.check(id)


async def test_a_timer_beyond_the_horizon_is_found_in_time() -> None:
    async with World() as world:
        await world.deploy(LONG)
        answer = await world.start("long")
        assert world.engine._loop.alarms.next_at() is None
        await world.pass_time(599.9)
        assert await ended(world, answer) is None
        await world.pass_time(0.2)
        assert await ended(world, answer) == 600


async def test_after_a_restart_every_timer_still_fires() -> None:
    world = World(lease_seconds=100)
    async with world:
        await world.deploy(ONE, RETRIED, TIMEOUT, WAIT, SIGNAL, LIMITED, DEADLINE, QUEUED)
        timed = await world.start("timeout")
        retried = await world.start("retried")
        tasks = await world.tasks("w")
        await world.fail(next(task for task in tasks if task.instance_id == retried.instance_id))
        queued, asks, limited = (
            await world.start("queued"),
            await world.start("asks"),
            await world.start("limited"),
        )
        waits = await world.start("wait", {"for": "3s"})
        later = await world.start("one", start_at=NOON + timedelta(seconds=40))
        deadline = await world.start("deadline")
        world.kill()
    async with World(world.faults, world.clock, lease_seconds=100) as again:
        await again.pass_time(45)
        assert [await ended(again, each) for each in (queued, limited, asks)] == [7, 20, 30]
        assert failures(await again.log(timed.instance_id)) == ["startToClose"]
        tasks = await again.tasks("w", max_tasks=20)
        assert {task.instance_id for task in tasks} == {
            each.instance_id for each in (retried, waits, later, deadline)
        }
        await again.pass_time(10)
        assert (await again.topics(deadline.instance_id)).count("DeadlineEscalated") == 1


async def test_a_withdrawn_timer_never_fires() -> None:
    async with World() as world:
        await world.deploy(SIGNAL)
        answer = await world.start("asks")
        await world.act(answer.instance_id, SendSignal, signal_id="1", name="approve", payload={})
        version = (await world.state(answer.instance_id)).version
        await world.pass_time(100)
        assert (await world.state(answer.instance_id)).version == version
        assert (await world.state(answer.instance_id)).outcome == "succeeded"


async def test_timers_run_on_while_an_instance_is_paused_and_its_tasks_wait() -> None:
    async with World() as world:
        await world.deploy(WAIT)
        id = (await world.start("wait", {"for": "5s"})).instance_id
        await world.act(id, PauseInstance, actor="a", reason="r")
        polling = world.polling("w")
        await world.pass_time(6)
        assert "WaitEnded" in await world.topics(id)
        assert not polling.done()
        await world.act(id, ResumeInstance, actor="a", reason="r")
        assert len(await world.got(polling)) == 1


async def test_a_timer_that_the_store_was_away_for_fires_afterwards_once() -> None:
    async with World() as world:
        await world.deploy(WAIT)
        answer = await world.start("wait", {"for": "5s"})
        world.faults.down = True
        await world.pass_time(20)
        world.faults.down = False
        await world.pass_time(2)
        log = await world.log(answer.instance_id)
        assert len([event for event in log if isinstance(event, WaitEnded)]) == 1
        await world.check(answer.instance_id)


async def test_in_a_storm_of_timers_other_commands_come_in_between() -> None:
    async with World() as world:
        await world.deploy(LONG, ONE)
        many = 3 * TIMERS_AT_ONCE
        answers = await asyncio.gather(*(world.start("long") for _ in range(many)))
        await world.pass_time(599)
        sizes: list[int] = []

        async def note(_: Batch) -> None:
            sizes.append(world.engine._loop.backlog)

        world.faults.after = note
        await world.pass_time(2)
        assert max(sizes) <= TIMERS_AT_ONCE
        states = [await world.state(answer.instance_id) for answer in answers[:: many // 20]]
        assert all(state.ended for state in states)


async def test_a_poison_timer_does_not_keep_the_loop_busy() -> None:
    async with World() as world:
        await world.deploy(WAIT)
        poison = (await world.start("wait", {"for": "1s"})).instance_id
        sane = await world.start("wait", {"for": "1s"})
        await world.faults.inner.append(_of_a_newer_release(poison, (await world.state(poison)).version))
        await world.pass_time(60)
        assert "WaitEnded" in await world.topics(sane.instance_id)
        assert 1 <= len(world.engine.incidents) <= 10


def _of_a_newer_release(instance: str, version: int) -> Batch:
    return Batch(events=[Recorded(instance, version + 1, "Invented", b"{}")])


async def test_a_fifth_lost_lease_fails_the_step() -> None:
    async with World() as world:
        await world.deploy(ONE)
        id = (await world.start("one")).instance_id
        for number in range(5):
            assert len(await world.tasks("w", session=f"dies-{number}")) == 1
            await world.pass_time(7)
        log = await world.log(id)
        assert failures(log) == ["leaseLost"] * 5
        assert [event.retry_at is not None for event in log if isinstance(event, StepFailed)] == [
            True
        ] * 4 + [False]
