"""The projections alone: what an event costs in each by itself, in all together, and when they are rebuilt.

A log of the benchmark's sagas, 64 of them at a time interleaved as they would be under load. Rates are events per
second of CPU, Python's and PostgreSQL's added up: what one core would do, however busy the machine is. `together` reads
and decodes the log once for all of them; `apart` is what the same would cost if each read for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from statistics import median
from typing import NamedTuple

import psycopg

from benchmarks.bench import Bench
from benchmarks.database import fresh_database, postmaster
from benchmarks.measures.micro import saga_commands, saga_program
from benchmarks.meter import Meter
from benchmarks.rows import Row, Settings, Target, at_least, row
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


class Cost(NamedTuple):
    """CPU of an event, in µs."""

    python: float
    postgres: float

    @property
    def rate(self) -> float:
        return 1e6 / max(0.01, self.python + self.postgres)


def run(bench: Bench) -> Iterator[Row]:
    sagas = bench.sized(SAGAS, least=2)
    with fresh_database(bench.postgres) as database:
        log, events = asyncio.run(_load(database, sagas))
        settings = {"events": events, "sagas": sagas, "in_flight": IN_FLIGHT}
        turns = range(bench.repeat)
        for name in PROJECTIONS:
            costs = [_followed(Site(database, log, f"v{turn}_{name}"), [name], events) for turn in turns]
            yield _row(name, costs, settings, ALONE)
        for shared, title in ((True, "together"), (False, "apart")):
            sites = [Site(database, log, f"all{turn}_{title}") for turn in turns]
            costs = [_followed(site, list(PROJECTIONS), events, shared=shared) for site in sites]
            yield _row(title, costs, settings, None)
        for name in PROJECTIONS:
            costs = [_rebuilt(Site(database, log, f"v0_{name}"), name, events) for _ in turns]
            yield _row(f"rebuild.{name}", costs, settings, REBUILT)


def _row(name: str, costs: Sequence[Cost], settings: Settings, target: Target | None) -> Row:
    python, postgres = median(cost.python for cost in costs), median(cost.postgres for cost in costs)
    return row(
        f"projections.{name}",
        "events/s",
        [cost.rate for cost in costs],
        settings,
        bounded_by=f"CPU: {python:.1f} µs of Python and {postgres:.1f} of PostgreSQL for each event",
        target=target,
    )


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


def _followed(site: Site, names: Sequence[str], events: int, *, shared: bool = True) -> Cost:
    """From the first event to the last, of all of these in turn."""
    chosen = {name: PROJECTIONS[name] for name in names}
    window = window_of(site, chosen) if shared and len(names) > 1 else None
    followers = [Follower(site, factory, window) for factory in chosen.values()]
    for follower in followers:
        follower.prepare()
    end = followers[0].place().head

    def turn() -> bool:
        reached = [follower.advance(lazily=shared) for follower in followers]
        return min(reached) >= end

    cost = _cost(site, turn, events)
    for follower in followers:
        follower.close()
    return cost


def _rebuilt(site: Site, name: str, events: int) -> Cost:
    rebuild = Rebuild(site, PROJECTIONS[name])
    rebuild.begin()
    cost = _cost(site, rebuild.fill, events)
    rebuild.close()
    return cost


def _cost(site: Site, turn: Callable[[], bool], events: int) -> Cost:
    """Turns until one says that it was the last."""
    meter = Meter({"postgres": [postmaster(site.database)]})
    while not turn():
        pass
    spent = meter.read().cpu_s
    return Cost(spent["driver"] / events * 1e6, spent["postgres"] / events * 1e6)
