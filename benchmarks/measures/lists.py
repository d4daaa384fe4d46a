"""Pages of a list among very many instances: the 99th percentile of ten combinations of filters, 100 to a page.

`make lists` runs it with a million; alone it takes 200,000. The instances stand in the log before, and are projected by
the code that always does it. Each combination is asked for a first page and for the one after it, in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from psycopg_pool import AsyncConnectionPool

from benchmarks.bench import Bench
from benchmarks.database import fresh_database
from benchmarks.population import combinations, populate, project
from benchmarks.rows import Row, at_most, percentile, row
from engine.store import PostgresStore
from projections.follower import Site
from projections.queries import InstanceFilters, Queries

INSTANCES = 200_000
ASKED = 100
"""Pages of each combination in one repeat."""
VIEWS = "tenuto_projections"


def run(bench: Bench) -> Iterator[Row]:
    instances = bench.sized(INSTANCES, least=100)
    with fresh_database(bench.postgres) as database:
        schema = asyncio.run(_install(database))
        populate(database, (schema, "stored_events"), instances)
        began = time.perf_counter()
        project(Site(database, (schema, "stored_events"), VIEWS))
        settings = {"instances": instances, "projected_s": round(time.perf_counter() - began, 1)}
        measured = asyncio.run(_measure(database, instances, bench.sized(ASKED, least=2), bench.repeat))
    for name, (ms, found) in measured.items():
        about = {**settings, "asks": name, "found": found}
        yield row(f"lists.{name.replace(' ', '_')}", "ms", ms, about, target=at_most(50))


async def _install(database: str) -> str:
    store = await PostgresStore.open(database)
    await store.close()
    return store.schema


async def _measure(
    database: str, instances: int, asked: int, repeat: int
) -> dict[str, tuple[list[float], int]]:
    """By combination: the 99th percentile of each repeat, and how many the first page held."""
    options = {"autocommit": True, "options": "-c timezone=UTC"}
    async with AsyncConnectionPool(database, min_size=1, max_size=1, open=False, kwargs=options) as pool:
        queries = Queries(pool, VIEWS)
        return {
            name: await _combination(queries, filters, asked, repeat)
            for name, filters in combinations(instances).items()
        }


async def _combination(
    queries: Queries, filters: InstanceFilters, asked: int, repeat: int
) -> tuple[list[float], int]:
    page = await queries.list_instances(filters)
    values = []
    for _ in range(repeat):
        took = []
        for number in range(asked):
            cursor = page.next if number % 2 else None
            began = time.perf_counter()
            await queries.list_instances(filters, cursor=cursor)
            took.append((time.perf_counter() - began) * 1000)
        values.append(percentile(took, 99))
    return values, len(page.items)
