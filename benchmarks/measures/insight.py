"""Reading histories again: `verify` folds and compares all of them, `what-if` runs them on another definition.

10,000 histories of 20 events are in the log. Each is read once, by one of as many processes as the machine has cores,
as the server does it; a figure for one process alone stands beside it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from typing import Any

import msgspec

from benchmarks.bench import Bench
from benchmarks.database import fresh_database
from benchmarks.rows import Row, at_least, at_most, row
from domain.codec import encode, topic_of
from domain.commands import ClaimStep, Command, CompleteStep, StartInstance
from domain.definition.parse import Deployable, read_definition
from domain.events import Event
from domain.instance import advance, owed
from domain.owed import Invoke
from domain.state import State
from engine.clock import SystemClock
from engine.engine import Engine
from engine.judging import judge
from engine.ports import Batch, Recorded
from engine.store import PostgresStore
from engine.verifying import verify

HISTORIES = 10_000
EVENTS = 20
BATCH = 2_000
CHUNK = 100
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEPS = "\n".join(
    f"  - {{id: {id}, type: task, action: worker:w/{id}, readOnly: true, timeout: 30s, next: {after}}}"
    for id, after in [
        ("fetch", "choose"),
        ("approve", "pack"),
        ("review", "pack"),
        ("pack", "ship"),
        ("ship", "mail"),
    ]
)
YAML = f"""
name: history
version: "1"
steps:
{STEPS.splitlines()[0]}
  - id: choose
    type: decision
    next: [{{condition: "$.fetch.amount > 800", next: review}}, {{next: approve}}]
{chr(10).join(STEPS.splitlines()[1:])}
  - {{id: mail, type: task, action: worker:w/mail, readOnly: true, timeout: 30s, businessStatus: mailing, next: done}}
  - {{id: done, type: succeed, result: {{sum: $.fetch.amount}}}}
"""
NEW = YAML.replace("> 800", "> 500")
"""Three of ten histories go another way on it."""


def run(bench: Bench) -> Iterator[Row]:
    number = bench.sized(HISTORIES, least=20)
    with fresh_database(bench.postgres) as database:
        ids, schema = asyncio.run(_fill(database, number))
        settings = {"histories": number, "events_each": EVENTS}
        at, document = AT + timedelta(days=1), msgspec.json.encode(read_definition(NEW).tree)
        verifying = partial(verify, database, schema)
        deciding = partial(verify, database, schema, decide=True)
        judging = partial(judge, database, schema, document=document, at=at)
        processes = min(4, os.cpu_count() or 1)
        events = number * EVENTS
        for name, work, count, target in (
            ("verify", verifying, processes, at_least(100_000)),
            ("verify.one_process", verifying, 1, None),
            ("verify.decide", deciding, processes, None),
        ):
            took = _timed(bench, work, ids, count)
            yield row(
                f"insight.{name}",
                "events/s",
                [events / one for one in took],
                settings | {"processes": count},
                target=target,
                bounded_by=f"{min(took) * count / events * 1e6:.1f} µs of a process per event:"
                " PostgreSQL's part, decoding, folding",
            )
        took = _timed(bench, judging, ids, processes)
        yield row(
            "insight.what_if",
            "s",
            took,
            settings | {"processes": processes},
            target=at_most(30),
            bounded_by=f"{min(took) * processes / number * 1e3:.2f} ms of a process per history",
        )


def _timed(
    bench: Bench, work: Callable[[Sequence[str]], Sequence[Any]], ids: Sequence[str], processes: int
) -> list[float]:
    """Seconds for all of them, as often as is asked. The processes are there, and warm."""
    chunks = [ids[begin : begin + CHUNK] for begin in range(0, len(ids), CHUNK)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(work, chunks[:1] * processes * 2):
            pass
        found = []
        for _ in range(bench.repeat):
            began = time.perf_counter()
            done = sum(len(part) for part in pool.map(work, chunks))
            found.append(time.perf_counter() - began)
            assert done == len(ids)
        return found


async def _fill(database: str, number: int) -> tuple[list[str], str]:
    """The log, filled as an engine would have filled it. → the instances, and the log's schema."""
    store = await PostgresStore.open(database)
    try:
        deployable = read_definition(YAML)
        engine = await Engine.open(store, await SystemClock.measured(store))
        await engine.deploy("default", deployable, actor="bench", request_id=None)
        kinds = [_stored(deployable, amount) for amount in range(100, 1_100, 100)]
        ids = [f"{engine.options.shard}-{number:032x}" for number in range(number)]
        batch: list[Recorded] = []
        for place, id in enumerate(ids):
            for version, (topic, payload) in enumerate(kinds[place % len(kinds)], 1):
                batch.append(Recorded(id, version, topic, payload))
            if len(batch) >= BATCH or place == number - 1:
                await store.append(Batch(events=batch))
                batch = []
        return ids, store.schema
    finally:
        await store.close()


def _stored(deployable: Deployable, amount: int) -> list[tuple[str, bytes]]:
    """One life, in which the first step found this amount."""
    program, state = deployable.program("1"), State(id="0-bench")
    log: list[Event] = []

    def ask(command: Command) -> None:
        log.extend(advance(command, state, program))

    ask(StartInstance(at=AT, command_id="c", namespace="default", input={"orderId": "o-00000001"}))
    while due := [effect for effect in owed(state).values() if isinstance(effect, Invoke)]:
        lease: dict[str, Any] = {
            "execution": due[0].key,
            "attempt": due[0].attempt,
            "token": "t",
            "command_id": "c",
        }
        ask(ClaimStep(at=AT, worker="w1", **lease))
        ask(CompleteStep(at=AT, output={"amount": amount, "reference": "r" * 60}, **lease))
    assert state.status == "completed"
    assert len(log) == EVENTS, len(log)
    return [(topic_of(event), encode(event)) for event in log]
