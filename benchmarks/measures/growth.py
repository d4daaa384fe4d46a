"""One instance that grows: steps/s of a loop of 500 and of 5,000 steps. Per step, a long history must cost no more.

Engine, store and worker are in one process here, without HTTP: it is the fold, the snapshots and the commits that are
looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from benchmarks.bench import Bench
from benchmarks.database import appends, commit_ms, fresh_database
from benchmarks.rows import Row, at_least, row
from benchmarks.work import LOOP, LOOP_YAML, QUEUE
from domain.definition.parse import read_definition
from engine.clock import SystemClock
from engine.engine import Engine
from engine.messages import Poll, StartRequest, Task, TaskResult
from engine.store import PostgresStore

SIZES = {500: None, 5_000: at_least(900)}
KEPT_PERCENT = 90
NAMESPACE = "default"
WITHIN_S = 300.0


class Grown(NamedTuple):
    """What one step took, in ms; `cpu` is that of the process, which others on the machine disturb less."""

    wall_ms: float
    cpu_ms: float


def run(bench: Bench) -> Iterator[Row]:
    found: list[list[Grown]] = []
    for full, target in SIZES.items():
        steps = bench.sized(full, least=5)
        with fresh_database(bench.postgres) as database:
            grown = asyncio.run(_grow(database, steps, bench.repeat))
            commits = appends(database)[1] / steps / bench.repeat
            bare = commit_ms(database)
        found.append(grown)
        settings = {"steps": steps, "server": "in process"}
        yield row(
            f"growth.steps_{full}",
            "steps/s",
            [1000 / one.wall_ms for one in grown],
            settings,
            bounded_by=f"{median(one.wall_ms for one in grown):.2f} ms a step, one after the other, with"
            f" {commits:.2f} commits each; a bare COMMIT takes {bare:.2f} ms",
            target=target,
        )
        yield row(f"growth.cpu_{full}", "ms/step", [one.cpu_ms for one in grown], settings)
    for name, what in (("kept", "wall_ms"), ("kept_cpu", "cpu_ms")):
        short, long = (median(getattr(one, what) for one in grown) for grown in found)
        yield row(f"growth.{name}", "%", [100 * short / long], {}, target=at_least(KEPT_PERCENT))


async def _grow(database: str, steps: int, repeat: int) -> list[Grown]:
    async with contextlib.AsyncExitStack() as stack:
        store = await PostgresStore.open(database)
        stack.push_async_callback(store.close)
        engine = await Engine.open(store, await SystemClock.measured(store))
        await engine.start()
        stack.push_async_callback(engine.stop)
        await engine.deploy(NAMESPACE, read_definition(LOOP_YAML), actor="bench", request_id=None)
        async with asyncio.TaskGroup() as group:
            worker = group.create_task(_work(engine))
            grown = [await _one(engine, steps) for _ in range(repeat)]
            worker.cancel()
        return grown


async def _one(engine: Engine, steps: int) -> Grown:
    began, spent = time.perf_counter(), time.process_time()
    request = StartRequest(namespace=NAMESPACE, definition=LOOP, input={"steps": steps})
    answer = await engine.start_instance(request)
    assert await engine.wait_for_end(answer.instance_id, WITHIN_S)
    took, spent = time.perf_counter() - began, time.process_time() - spent
    state = await engine.state_of(answer.instance_id)
    assert state.result == {"count": steps}, state.result
    return Grown(took * 1000 / steps, spent * 1000 / steps)


async def _work(engine: Engine) -> None:
    """Carries each result with the next poll."""
    results: list[TaskResult] = []
    while True:
        poll = Poll(worker="w1", session="s1", queues=(QUEUE,), wait_seconds=5, results=results)
        results = [_done(task) for task in (await engine.poll(poll)).tasks]


def _done(task: Task) -> TaskResult:
    return TaskResult(token=task.token, output={"count": task.input["count"] + 1})
