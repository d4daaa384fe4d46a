"""A world for engines: a store with faults, a clock that tests move, workers that are played by hand.

    async with World() as world:
        await world.deploy(SAGA)
        answer = await world.start("saga")
        [task] = await world.tasks("w")
        await world.complete(task)

Nothing here sleeps: `pass_time` moves the clock from one waking to the next, and lets everybody act in between.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self, cast

from domain.calls import Answer as ServiceAnswer
from domain.calls import ServiceCall, StepError, Succeeded
from domain.codec import decode
from domain.commands import ChangeData, Command
from domain.definition.parse import read_definition
from domain.events import Event, StatusChanged, StepFailed, StepStarted
from domain.evolve import evolve
from domain.state import State
from engine.clock import ManualClock, SystemClock
from engine.engine import Engine
from engine.messages import (
    Answer,
    BeatReport,
    Envelope,
    Poll,
    PollAnswer,
    ResultStatus,
    StartRequest,
    Task,
    TaskResult,
)
from engine.options import EngineOptions
from engine.ports import Batch, Clock, Store, StoreUnavailableError
from engine.rows import rows_of
from engine.store import MemoryStore
from tests.domain.laws import check_log

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TURNS = 60
"""So many rounds of the event loop are enough for everybody to come to rest, when the store is in memory."""

SAGA = """
name: saga
steps:
  - {id: charge, type: task, action: worker:w/charge, compensateWith: refund, next: reserve}
  - {id: reserve, type: task, action: worker:w/reserve, compensateWith: release, next: ship}
  - {id: ship, type: task, action: worker:w/ship}
  - {id: refund, type: task, action: worker:w/refund}
  - {id: release, type: task, action: worker:w/release}
"""
ONE = """
name: one
steps: [{id: work, type: task, action: worker:w/work}]
"""
SIGNAL = """
name: asks
steps:
  - {id: approval, type: wait, signal: approve, next: work}
  - {id: work, type: task, action: worker:w/work}
"""


class Faults:
    """Between an engine and its store. `down` refuses everything; the hooks run around every append.

    `before` and `after` get the batch; what they raise is what the engine sees; `reading` runs before
    instances are loaded. `batches` are those stored. With
    `chance`, every call takes its time, so that whatever runs at once is interleaved in ever new ways.
    """

    def __init__(self, inner: Store, chance: Random | None = None) -> None:
        self.inner = inner
        self.chance = chance
        self.down = False
        self.before: Callable[[Batch], Awaitable[None]] | None = None
        self.after: Callable[[Batch], Awaitable[None]] | None = None
        self.reading: Callable[[], Awaitable[object]] | None = None
        self.batches: list[Batch] = []
        self.calls: list[str] = []

    @property
    def store(self) -> Store:
        return cast(Store, self)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute

        async def passed_on(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            self._refuse_if_down()
            if self.reading is not None and name == "load":
                await self.reading()
            await self._dawdle()
            answer = await attribute(*args, **kwargs)
            await self._dawdle()
            return answer

        return passed_on

    async def append(self, batch: Batch) -> list[int]:
        self._refuse_if_down()
        if self.before is not None:
            await self.before(batch)
        await self._dawdle()
        positions = await self.inner.append(batch)
        self.batches.append(batch)
        await self._dawdle()
        if self.after is not None:
            await self.after(batch)
        return positions

    async def _dawdle(self) -> None:
        if self.chance is not None:
            for _ in range(self.chance.randrange(4)):
                await asyncio.sleep(0)

    def _refuse_if_down(self) -> None:
        if self.down:
            raise StoreUnavailableError(problem="a test took it away")


def when_open(gate: asyncio.Event) -> Callable[[Batch], Awaitable[None]]:
    """For `Faults.before` and `after`: appends stand still until then."""

    async def wait(_: Batch) -> None:
        await gate.wait()

    return wait


class World:
    """One engine. Give the `faults` of another world, and there are two on one store."""

    def __init__(
        self,
        faults: Faults | None = None,
        clock: Clock | None = None,
        *,
        connector: FakeService | None = None,
        lease_seconds: float = 5.0,
        gather_seconds: float = 0.0,
    ) -> None:
        self.clock = clock or ManualClock(NOON)
        self.faults = faults or Faults(MemoryStore(self.clock))
        self._connectors = {} if connector is None else {"http": connector}
        self._options = EngineOptions(lease_seconds=lease_seconds, gather_seconds=gather_seconds)
        self._killed = False
        self.engine: Engine = cast(Engine, None)

    async def __aenter__(self) -> Self:
        self.engine = await Engine.open(
            self.faults.store, self.clock, connectors=self._connectors, options=self._options
        )
        await self.engine.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._killed:
            await self.engine.stop(0)

    async def another(self) -> World:
        """A second engine on the same store and clock."""
        return await World(Faults(self.faults.inner), self.clock).__aenter__()

    def kill(self) -> None:
        """What is left after kill -9: the store. Nothing is told to anybody."""
        engine, self._killed = self.engine, True
        for task in [engine._running, engine._upkeep_task, *engine._dispatching]:
            if task is not None:
                task.cancel()

    # Time ------------------------------------------------------------------------

    async def settle(self) -> None:
        """Until everybody waits for something."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        """Moves the clock from waking to waking, so that nobody sleeps longer than they meant to."""
        clock = cast(ManualClock, self.clock)
        until = clock.now() + timedelta(seconds=seconds)
        await self.settle()
        while (waking := clock.next_waking) is not None and waking <= until:
            clock.advance(max(waking - clock.now(), timedelta()))
            await self.settle()
        clock.advance(until - clock.now())
        await self.settle()

    # Clients ---------------------------------------------------------------------

    async def deploy(self, *texts: str) -> None:
        for text in texts:
            await self.engine.deploy("default", read_definition(text), actor="test", request_id=None)

    async def start(self, definition: str, input: object = None, **fields: Any) -> Answer:
        request = StartRequest(namespace="default", definition=definition, input=input or {}, **fields)
        return await self.engine.start_instance(request)

    async def act(self, instance: str, kind: type[Command], **fields: Any) -> Answer:
        def make(env: Envelope) -> Command:
            return kind(at=env.at, command_id=env.command_id, **fields)

        return await self.engine.act(instance, make)

    async def change(self, instance: str, **data: Any) -> Answer:
        """A command that is granted at any time, and never redundant."""
        return await self.act(instance, ChangeData, data=data, actor="test", reason="test")

    async def log(self, instance: str) -> list[Event]:
        recorded = await self.faults.inner.read(instance)
        return [decode(each.topic, each.payload) for each in recorded]

    async def topics(self, instance: str) -> list[str]:
        return [each.topic for each in await self.faults.inner.read(instance)]

    async def state(self, instance: str) -> State:
        return await self.engine.state_of(instance)

    # Workers ---------------------------------------------------------------------

    async def poll(
        self,
        *queues: str,
        session: str = "s",
        worker: str = "w1",
        max_tasks: int = 10,
        wait: float = 0.0,
        results: Sequence[TaskResult] = (),
    ) -> PollAnswer:
        poll = Poll(
            worker=worker,
            session=session,
            queues=queues,
            max_tasks=max_tasks,
            wait_seconds=wait,
            results=list(results),
        )
        return await self.engine.poll(poll)

    def polling(self, *queues: str, wait: float = 30.0, **fields: Any) -> asyncio.Task[PollAnswer]:
        return asyncio.ensure_future(self.poll(*queues, wait=wait, **fields))

    async def tasks(self, *queues: str, **fields: Any) -> list[Task]:
        return (await self.poll(*queues, **fields)).tasks

    async def got(self, polling: asyncio.Task[PollAnswer]) -> list[Task]:
        """What a poll that waits has been handed by now."""
        await self.settle()
        assert polling.done(), "nothing has come yet"
        return polling.result().tasks

    async def complete(self, *tasks: Task, output: object = None) -> list[ResultStatus]:
        return await self.engine.report([done(task, output) for task in tasks])

    async def fail(self, task: Task, type: str = "BoomError", **fields: Any) -> ResultStatus:
        [status] = await self.engine.report([failed(task, type, **fields)])
        return status

    async def beat(self, *tasks: Task, progress: object = None, session: str = "s") -> list[ResultStatus]:
        beats = [BeatReport(token=task.token, progress=progress) for task in tasks]
        return await self.engine.heartbeat(session, "w1", beats)

    async def work(self, *queues: str, session: str = "s") -> list[Task]:
        """Takes and completes whatever there is, until there is nothing. → what was done, in order."""
        all_done: list[Task] = []
        while tasks := await self.tasks(*queues, session=session):
            all_done += tasks
            await self.complete(*tasks)
        return all_done

    # What must hold --------------------------------------------------------------

    async def check(self, *instances: str) -> None:
        """I2, I3, I5, I10 and the table of what is owed, for these instances."""
        for instance in instances:
            await check_instance(self.faults.inner, instance)


class FakeService:
    """A connector whose calls end when the test says so: `answers` by step, or a call that hangs."""

    def __init__(self, **answers: ServiceAnswer | Exception) -> None:
        self.answers = answers
        self.calls: list[ServiceCall] = []
        self.release = asyncio.Event()
        self.release.set()
        self.closed = False

    async def call(self, call: ServiceCall) -> ServiceAnswer:
        self.calls.append(call)
        await self.release.wait()
        answer = self.answers.get(call.step, Succeeded({}))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


def done(task: Task, output: object = None) -> TaskResult:
    return TaskResult(token=task.token, output={} if output is None else output)


def failed(task: Task, type: str = "BoomError", *, retryable: bool = True, **fields: Any) -> TaskResult:
    error = StepError(type=type, message="boom", retryable=retryable)
    return TaskResult(token=task.token, error=error, **fields)


async def check_instance(store: Store, instance: str) -> State:
    """Versions without holes, positions that rise, one end at most, one result per attempt, and nothing owed but
    what the log implies. → its state, folded from the log."""
    recorded = await store.read(instance)
    assert [each.version for each in recorded] == list(range(1, len(recorded) + 1))
    positions = [each.position for each in recorded]
    assert positions == sorted(set(positions))
    log = [decode(each.topic, each.payload) for each in recorded]
    state = State(id=instance)
    for event in log:
        evolve(state, event)
    check_log([decode(each.topic, each.payload) for each in recorded], state)
    started = [(each.execution, each.attempt) for each in log if isinstance(each, StepStarted)]
    assert len(started) == len(set(started)), "an attempt is claimed once"
    ended = [
        each.to for each in log if isinstance(each, StatusChanged) and each.to in ("completed", "failed")
    ]
    assert len(ended) <= 1
    rows = {row.key: row for row in await store.owed_of([instance])}
    assert rows == rows_of(state), "the table is what the log implies"
    return state


def failures(log: Sequence[Event]) -> list[str | None]:
    """Which timeouts, or None for an error that was reported, in order."""
    return [event.timeout for event in log if isinstance(event, StepFailed)]


async def system_clock(store: Store) -> Clock:
    return await SystemClock.measured(store)
