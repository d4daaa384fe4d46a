"""One instance, played through HTTP and the engine's own loop, with a clock that tests move; what it did is read from
what is stored.

    async with playing(ORDER, {"amount": 5}) as play:
        await play.complete("charge", {"paymentId": "p-1"})
        await play.fail("ship", "CarrierDownError")
        await play.wait("5s")
        assert await play.topics() == [...]

Everything is asked through the application's routes: definitions, starts, polls, results, signals, acts. The store is
in memory, time is simulated: the clock goes from one thing that is due to the next, so a day costs nothing. When it is
over, the log is checked: versions, one end, what is owed is what the log implies, and nothing once it has ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar, cast

import httpx
import msgspec

from api.app import create_app
from api.heavy import Heavy
from api.wiring import Shard, Wiring
from domain.durations import parse_duration
from domain.events import Compensated, Event, StatusChanged, StepScheduled
from domain.happened import timed
from domain.state import step_of
from engine.clock import ManualClock
from engine.ports import OwedRow
from feeds.feed import Feed
from feeds.webhooks import Webhooks
from projections.audit_queries import AuditQueries
from projections.oversight import Oversight
from projections.queries import Queries
from projections.runner import Runner
from tests.engine.world import NOON, World

E = TypeVar("E", bound=Event)

FOREVER = 10_000_000.0
"""Seconds of a lease that no test loses; those that lose leases ask for short ones."""
MOST = 500
"""Steps of a run that somebody plays: what needs more never ends."""
NOT_YET = object()
"""In the place of an input: nothing is started yet."""
WHY = {"reason": "the customer called", "actor": "ada"}


def at(after: str) -> datetime:
    """A moment, by the time since the first instance of the test was started."""
    return NOON + timedelta(milliseconds=parse_duration(after))


class Play:
    """Steps are named by their id, or by their execution where that is not enough."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self.world = world
        self.http = http
        self.id = ""
        self.name = ""
        self._held: dict[tuple[str, str], dict[str, Any]] = {}
        self._numbers = count(1)

    # HTTP ------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: object = None, expected: int = 200, **more: Any) -> Any:
        answer = await self.http.request(method, path, json=body, **more)
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def get(self, path: str = "", **query: str) -> Any:
        """Of this instance: `""`, `"/history"`, `"/transitions"`, …"""
        return await self.ask("GET", f"/v1/instances/{self.id}{path}", params=query)

    async def act(self, act: str, expected: int = 200, **fields: Any) -> Any:
        return await self.ask("POST", f"/v1/instances/{self.id}/{act}", {**WHY, **fields}, expected)

    async def deploy(self, text: str, expected: int = 201, *, name: str = "") -> Any:
        """Returns the answer; `name: test` is added where the text has no name. JSON is told its `name`."""
        if not name:
            text = text if "\nname:" in f"\n{text}" else f"name: test\n{text}"
            name = next(line for line in text.splitlines() if line.startswith("name:"))[5:].strip()
        self.name = name
        yaml = {"Content-Type": "application/yaml"}
        answer = await self.http.put(f"/v1/definitions/{self.name}", content=text, headers=yaml)
        assert answer.status_code == expected, answer.text
        return answer.json()

    async def start(self, input: object = None, expected: int = 201, **fields: Any) -> Any:
        body = {"definition": self.name, "input": {} if input is None else input, **fields}
        view = await self.ask("POST", "/v1/instances", body, expected)
        self.id = view.get("id", self.id)
        return view

    async def signal(self, name: str, payload: object = None, id: str | None = None) -> Any:
        body = {"signalId": id or f"signal-{next(self._numbers)}", "payload": payload}
        return await self.ask("POST", f"/v1/instances/{self.id}/signals/{name}", body)

    # Workers ---------------------------------------------------------------------

    async def poll(self, queue: str, *, session: str = "s1", worker: str = "w1") -> list[dict[str, Any]]:
        """What the queue of workers has; that of a service (`http:payments`) is the engine's own to ask for."""
        tasks: list[dict[str, Any]]
        if ":" in queue:
            tasks = msgspec.to_builtins(await self.world.tasks(queue, session=session, worker=worker))
        else:
            body = {"worker": worker, "session": session, "queues": [queue], "maxTasks": 10}
            tasks = (await self.ask("POST", "/v1/tasks/poll", body))["tasks"]
        for task in tasks:
            self._held[task["instanceId"], task["execution"]] = task
        return tasks

    async def take(self, step: str, **who: str) -> dict[str, Any]:
        """The step's attempt, as a worker is handed it: as soon as it is due, and not earlier."""
        row = await self._row_of(step)
        if row.kind == "invoke":
            assert row.due_at is not None
            if row.due_at > self.now:
                await self._until(row.due_at)
            await self.poll(row.queue or "", **who)
        return self._held[self.id, row.key]

    async def complete(self, step: str, output: object = None, **who: str) -> str:
        task = await self.take(step, **who)
        return await self.completes(task, {} if output is None else output)

    async def completes(self, task: dict[str, Any], output: object) -> str:
        """Reports for a task that was handed out at any time; returns the status."""
        return await self._report("complete", {"token": task["token"], "output": output})

    async def fail(self, step: str, type: str = "BoomError", message: str = "boom", **more: Any) -> str:
        """`retry_after` goes beside the error's other fields (`retryable`, `code`, `details`)."""
        if "retry_after" in more:
            more["retryAfter"] = more.pop("retry_after")
        task = await self.take(step)
        error = {"type": type, "message": message, **more}
        return await self._report("fail", {"token": task["token"], "error": error})

    async def use_up(self, step: str, type: str = "BoomError", message: str = "boom") -> int:
        """Fails every attempt of the step, as each comes due; returns how many there were."""
        for number in count(1):
            execution = (await self._row_of(step)).key
            assert await self.fail(step, type, message) == "accepted"
            assert number < MOST, f"{step} is tried for ever"
            rows = {row.key: row for row in await self.owed()}
            if execution not in rows:
                return number
        raise AssertionError

    async def beat(self, task: dict[str, Any], progress: object = None, session: str = "s1") -> str:
        beats = [{"token": task["token"], "progress": progress}]
        body = {"session": session, "worker": "w1", "beats": beats}
        (answer,) = (await self.ask("POST", "/v1/tasks/heartbeat", body))["results"]
        status: str = answer["status"]
        return status

    async def serve(self, **outputs: object) -> list[str]:
        """Completes whatever may be taken or is in hand, until there is nothing; returns the steps, in order."""
        served: list[str] = []
        while due := [row for row in await self.owed() if row.kind in ("invoke", "await")]:
            task = await self.take(due[0].key)
            served.append(task["step"])
            assert len(served) < MOST, "it never ends"
            assert await self.completes(task, outputs.get(task["step"], {})) == "accepted"
        return served

    async def serve_until(self, step: str) -> None:
        """Completes what comes before the step."""
        while step not in await self.offered():
            (first, *_) = await self.offered()
            assert await self.complete(first) == "accepted"

    async def _report(self, path: str, item: dict[str, Any]) -> str:
        answer = await self.ask("POST", f"/v1/tasks/{path}", {"results": [item]})
        status: str = answer["results"][0]["status"]
        return status

    # Time ------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    async def wait(self, time: str) -> None:
        """Lets time pass, from one thing that is due to the next."""
        await self._until(self.now + timedelta(milliseconds=parse_duration(time)))

    async def until(self, after: str) -> None:
        """The same, to a moment counted from the start of the test."""
        await self._until(at(after))

    async def _until(self, moment: datetime) -> None:
        clock = cast(ManualClock, self.world.clock)
        while True:
            rows = await self.owed()
            times = [time for row in rows for time in (row.timer_at, row.due_at) if time is not None]
            coming = min([time for time in times if self.now < time <= moment], default=moment)
            clock.advance(coming - self.now)
            await self.world.settle()
            if coming == moment:
                return

    # What is stored --------------------------------------------------------------

    async def log(self) -> list[Event]:
        return await self.world.log(self.id)

    async def topics(self) -> list[str]:
        return await self.world.topics(self.id)

    async def all(self, kind: type[E], step: str | None = None) -> list[E]:
        """The stored events of a kind, of one step only when it is named."""
        log = await self.log()
        return [
            event
            for event, about in zip(log, steps_of(log), strict=True)
            if type(event) is kind and step in (None, about)
        ]

    async def last(self, kind: type[E], step: str | None = None) -> E:
        found = await self.all(kind, step)
        assert found, f"no {kind.__name__} in {await self.topics()}"
        return found[-1]

    async def times(self, kind: type[E], step: str | None = None) -> list[str]:
        """When each of them happened, in seconds since the start of the test."""
        log = await self.log()
        history = zip(timed(enumerate(log, 1)), steps_of(log), strict=True)
        return [
            _seconds(now.at) for now, about in history if type(now.event) is kind and step in (None, about)
        ]

    async def statuses(self) -> list[str]:
        changes = await self.all(StatusChanged)
        return ["pending", *(change.to for change in changes)]

    async def undone(self) -> list[str]:
        """The executions that were undone, in that order."""
        return [event.undoes for event in await self.all(Compensated)]

    async def input_of(self, step: str) -> Any:
        return (await self.all(StepScheduled, step))[0].input

    async def owed(self) -> list[OwedRow]:
        """The rows of the table of what is owed."""
        return await self.world.faults.inner.owed_of([self.id])

    async def timers(self) -> list[str]:
        """The keys under which time is still owed something."""
        return sorted(row.key for row in await self.owed() if row.timer_at is not None)

    async def offered(self) -> list[str]:
        """The steps that workers may take, now or later."""
        steps = await self._open()
        return [steps[row.key] for row in await self.owed() if row.kind == "invoke"]

    async def check(self) -> None:
        if self.id:
            await self.world.check(self.id)
            if (await self.world.state(self.id)).ended:
                assert [row for row in await self.owed() if row.kind != "invoke"] == [], "no timer is left"

    async def _row_of(self, step: str) -> OwedRow:
        rows = [row for row in await self.owed() if row.kind in ("invoke", "await")]
        steps = await self._open()
        found = [row for row in rows if step in (row.key, steps[row.key])]
        assert len(found) == 1, f"{step} is open as {found}; owed: {[row.key for row in rows]}"
        return found[0]

    async def _open(self) -> dict[str, str]:
        """Execution → step."""
        open = (await self.world.state(self.id)).open
        return {execution: step_of(found) for execution, found in open.items()}


def steps_of(log: Sequence[Event]) -> list[str | None]:
    """The step that each event is about; an undo's events say only the execution, which its first one explains."""
    known: dict[str, str] = {}
    found = []
    for event in log:
        execution, step = getattr(event, "execution", ""), getattr(event, "step", None)
        if step is not None:
            known[execution] = step
        found.append(step or known.get(execution))
    return found


def _seconds(moment: datetime) -> str:
    return f"{(moment - NOON).total_seconds():g}s"


@asynccontextmanager
async def playing(
    text: str = "", input: object = None, *, lease_seconds: float = FOREVER, **start: Any
) -> AsyncIterator[Play]:
    """A server of its own. With a definition, it is deployed; unless `input` is `NOT_YET`, an instance is started."""
    async with World(lease_seconds=lease_seconds) as world:
        wiring = Wiring(
            engine=world.engine,
            store=world.faults.store,
            clock=world.clock,
            runner=cast(Runner, None),  # Lists come from PostgreSQL: tests/api has them.
            queries=cast(Queries, None),
            audit=cast(AuditQueries, None),
            shard=cast(Shard, None),
            heavy=cast(Heavy, None),
            feed=cast(Feed, None),
            webhooks=cast(Webhooks, None),
            oversight=cast(Oversight, None),
        )
        transport = httpx.ASGITransport(create_app(wiring))
        async with httpx.AsyncClient(transport=transport, base_url="http://tenuto") as http:
            play = Play(world, http)
            if text:
                await play.deploy(text)
            if text and input is not NOT_YET:
                await play.start(input, **start)
            yield play
            await play.check()
