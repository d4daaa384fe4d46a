"""The store by itself: commits/s of batches of 1 to 1,000 events, one after the other, each durable before the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count, islice
from statistics import median

from benchmarks.bench import Bench
from benchmarks.database import commit_ms, fresh_database
from benchmarks.measures.micro import saga_events, saga_program
from benchmarks.rows import Row, row
from domain.codec import encode, topic_of
from engine.ports import Batch, Recorded
from engine.store import PostgresStore

COMMITS = {1: 400, 10: 300, 100: 150, 1_000: 30}
"""Commits measured, by events per commit."""


def run(bench: Bench) -> Iterator[Row]:
    with fresh_database(bench.postgres) as database:
        bare = commit_ms(database)
        for events, commits in COMMITS.items():
            number = bench.sized(commits, least=3)
            rates = asyncio.run(_rates(database, events, number, bench.repeat))
            middle = median(rates)
            yield row(
                f"append.batch_{events}",
                "commits/s",
                rates,
                {"events_per_commit": events, "commits": number, "events_s": round(events * middle)},
                bounded_by=f"{1000 / middle:.2f} ms each, where a bare COMMIT takes {bare:.2f} ms;"
                f" {events * middle:,.0f} events/s",
            )


async def _rates(database: str, events: int, commits: int, repeat: int) -> list[float]:
    store = await PostgresStore.open(database)
    try:
        log = _endless_sagas(f"{events}-{time.monotonic_ns()}")
        await store.append(_batch(log, events))
        return [await _rate(store, [_batch(log, events) for _ in range(commits)]) for _ in range(repeat)]
    finally:
        await store.close()


async def _rate(store: PostgresStore, batches: list[Batch]) -> float:
    began = time.perf_counter()
    for batch in batches:
        await store.append(batch)
    return len(batches) / (time.perf_counter() - began)


def _batch(log: Iterator[Recorded], events: int) -> Batch:
    return Batch(events=list(islice(log, events)))


def _endless_sagas(prefix: str) -> Iterator[Recorded]:
    """One saga's events after the other, under ever new ids."""
    stored = [(topic_of(event), encode(event)) for event in saga_events(saga_program())]
    for number in count():
        for version, (topic, payload) in enumerate(stored, 1):
            yield Recorded(f"{prefix}-{number:032x}", version, topic, payload)
