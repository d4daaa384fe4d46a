"""The projections alone: events/s that each applies by itself, all together, and when they are rebuilt.

A log of the benchmark's sagas, 64 of them at a time interleaved as they would be under load. One thread does it all,
and its connection's backend works only while the thread waits: so a rate is that of one core. `together` reads and
decodes the log once for all of them; `apart` is what the same would cost if each read for itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import psycopg

from benchmarks.bench import Bench
from benchmarks.database import fresh_database
from benchmarks.measures.micro import saga_commands, saga_program
from benchmarks.rows import Row, at_least, row
from domain.codec import encode, topic_of
from domain.instance import advance
from domain.state import State
from engine.ports import Batch, Recorded
from engine.store import PostgresStore
from projections.catalogue import PROJECTIONS
from projections.follower import Follower, Site, window_of
from projections.rebuilding import Rebuild

SAGAS = 3_000
IN_FLIGHT = 64
APPENDED = 2_000
"""Events at once, while the log is made."""
ALONE, REBUILT = at_least(20_000), at_least(50_000)


def run(bench: Bench) -> Iterator[Row]:
    sagas = bench.sized(SAGAS, least=2)
    with fresh_database(bench.postgres) as database:
        log, events = asyncio.run(_load(database, sagas))
        settings = {"events": events, "sagas": sagas, "in_flight": IN_FLIGHT}
        for name in PROJECTIONS:
            rates = [
                _followed(Site(database, log, f"v{turn}_{name}"), [name], events)
                for turn in range(bench.repeat)
            ]
            yield row(f"projections.{name}", "events/s", rates, settings, target=ALONE)
        for shared, title in ((True, "together"), (False, "apart")):
            rates = [
                _followed(Site(database, log, f"all{turn}_{title}"), list(PROJECTIONS), events, shared=shared)
                for turn in range(bench.repeat)
            ]
            yield row(f"projections.{title}", "events/s", rates, settings)
        for name in PROJECTIONS:
            rates = [_rebuilt(Site(database, log, f"v0_{name}"), name, events) for _ in range(bench.repeat)]
            yield row(f"projections.rebuild.{name}", "events/s", rates, settings, target=REBUILT)


async def _load(database: str, sagas: int) -> tuple[tuple[str, str], int]:
    store = await PostgresStore.open(database)
    count = 0
    try:
        events = interleaved(sagas)
        while batch := list(islice(events, APPENDED)):
            await store.append(Batch(events=batch))
            count += len(batch)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        return (store.schema, "stored_events"), count
    finally:
        await store.close()


def interleaved(sagas: int) -> Iterator[Recorded]:
    """The events of so many sagas, command by command, 64 sagas at a time."""
    program = saga_program()
    state = State(id="")
    commands = [
        [(topic_of(event), encode(event)) for event in advance(command, state, program)]
        for command in saga_commands(program)
    ]
    for first in range(0, sagas, IN_FLIGHT):
        version = 1
        for stored in commands:
            for number in range(first, min(first + IN_FLIGHT, sagas)):
                for offset, (topic, payload) in enumerate(stored):
                    yield Recorded(f"0-{number:032x}", version + offset, topic, payload)
            version += len(stored)


def _followed(site: Site, names: Sequence[str], events: int, *, shared: bool = True) -> float:
    """Events/s, from the first to the last, of all of these in turn."""
    chosen = {name: PROJECTIONS[name] for name in names}
    window = window_of(site, chosen) if shared and len(names) > 1 else None
    followers = [Follower(site, factory, window) for factory in chosen.values()]
    for follower in followers:
        follower.prepare()
    end = followers[0].place().head
    began = time.perf_counter()
    behind = followers
    while behind:
        behind = [follower for follower in behind if follower.advance(lazily=shared) < end]
    took = time.perf_counter() - began
    for follower in followers:
        follower.close()
    return events / took


def _rebuilt(site: Site, name: str, events: int) -> float:
    rebuild = Rebuild(site, PROJECTIONS[name])
    rebuild.begin()
    took = _seconds(rebuild.fill)
    rebuild.close()
    return events / took


def _seconds(step: Callable[[], bool]) -> float:
    began = time.perf_counter()
    while not step():
        pass
    return time.perf_counter() - began
