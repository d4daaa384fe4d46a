"""A cold load: an instance of 10,000 events that no memory holds, read and folded, with a snapshot and without one.

The snapshot is as old as it gets: just before the next one is due. The store alone, in this process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from benchmarks.bench import Bench
from benchmarks.database import fresh_database
from benchmarks.measures.micro import AT, ID
from benchmarks.rows import Row, at_most, row
from benchmarks.work import LOOP_YAML
from domain.codec import encode, topic_of
from domain.commands import ClaimStep, Command, CompleteStep, StartInstance
from domain.definition.parse import read_definition
from domain.instance import advance
from domain.state import STATE_VERSION, State
from engine.cache import SNAPSHOT_EVERY, fold
from engine.ports import Batch, Recorded, Snapshot
from engine.store import PostgresStore

EVENTS = 10_000
AT_ONCE = 1_000
COLD_MS = 50
OF_NOBODY = STATE_VERSION + 1_000
"""A state version for which there is no snapshot."""


def run(bench: Bench) -> Iterator[Row]:
    events, snapshot = _grown(bench.sized(EVENTS, least=20))
    settings = {"events": len(events), "after_snapshot": len(events) - snapshot.version}
    with fresh_database(bench.postgres) as database:
        asyncio.run(_fill(database, events, snapshot))
        for name, state_version in (("snapshot", STATE_VERSION), ("bare", OF_NOBODY)):
            took = asyncio.run(_load(database, state_version, len(events), max(bench.repeat, 5)))
            target = at_most(COLD_MS) if name == "snapshot" else None
            yield row(f"load.{name}", "ms", took, settings, target=target)


def _grown(total: int) -> tuple[list[Recorded], Snapshot]:
    """The history of one instance that loops, and its last snapshot."""
    program = read_definition(LOOP_YAML).program("1")
    state = State(id=ID)
    events: list[Recorded] = []
    tail = min(SNAPSHOT_EVERY - 1, total // 2)
    snapshot: Snapshot | None = None

    def ask(command: Command) -> None:
        for event in advance(command, state, program):
            events.append(Recorded(ID, len(events) + 1, topic_of(event), encode(event)))

    ask(StartInstance(at=AT, command_id="c", namespace="default", input={"steps": total}))
    while len(events) < total:
        (execution,) = state.open
        at = AT + timedelta(milliseconds=len(events))
        lease = {"execution": execution, "attempt": 1, "token": "token"}
        ask(msgspec.convert({"at": at, "command_id": "c", "worker": "w1", **lease}, ClaimStep))
        done = {"at": at, "command_id": "c", "output": {"count": len(events) // 10}, **lease}
        ask(msgspec.convert(done, CompleteStep))
        if snapshot is None and len(events) >= total - tail:
            snapshot = Snapshot(ID, state.version, STATE_VERSION, msgspec.json.encode(state))
    assert snapshot is not None
    return events, snapshot


async def _fill(database: str, events: list[Recorded], snapshot: Snapshot) -> None:
    store = await PostgresStore.open(database)
    for begin in range(0, len(events), AT_ONCE):
        await store.append(Batch(events=events[begin : begin + AT_ONCE]))
    await store.save_snapshots([snapshot])
    await store.close()


async def _load(database: str, state_version: int, version: int, repeat: int) -> list[float]:
    """ms, the first time left out: then the connection is open and its statements are prepared."""
    store = await PostgresStore.open(database, state_version=state_version)
    took: list[float] = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        state = fold(ID, (await store.load([ID]))[ID])
        took.append((time.perf_counter() - began) * 1000)
        assert state.version == version
    await store.close()
    return took[1:]
