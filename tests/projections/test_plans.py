"""Among 50,000 instances every documented combination of filters is found by an index, and counts by counters."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from benchmarks.population import combinations, populate, project
from projections.follower import Site
from projections.queries import InstanceFilters, Queries
from tests.projections.histories import Log

INSTANCES = 50_000


@pytest.fixture(scope="module")
def crowd(database: str) -> Iterator[Site]:
    """The views of a log of 50,000."""
    name = f"crowd_{secrets.token_hex(4)}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        site = Site(database, (name, "stored_events"), f"{name}_views")
        Log(database, name)
        populate(database, site.log, INSTANCES)
        project(site)
        yield site
        for schema in (name, site.views):
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


@pytest.fixture
async def queries(crowd: Site) -> AsyncIterator[Queries]:
    options = {"autocommit": True, "options": "-c timezone=UTC"}
    async with AsyncConnectionPool(
        crowd.database, min_size=1, max_size=1, open=False, kwargs=options
    ) as pool:
        yield Queries(pool, crowd.views)


@pytest.mark.parametrize(("name", "filters"), combinations(INSTANCES).items(), ids=lambda it: str(it)[:40])
async def test_a_combination_of_filters_is_found_by_an_index(
    name: str, filters: InstanceFilters, queries: Queries
) -> None:
    plan = await queries.explain_instances(filters)
    assert "Index" in plan, plan
    assert "Seq Scan" not in plan, plan
    page = await queries.list_instances(filters)
    assert page.items, name
    again: list[str] = []
    cursor = None
    for _ in range(3):
        part = await queries.list_instances(filters, limit=7, cursor=cursor)
        again += [item.id for item in part.items]
        cursor = part.next
        if cursor is None:
            break
    assert again == [item.id for item in page.items][: len(again)]


async def test_a_word_that_is_everywhere_does_not_make_a_page_read_everything(queries: Queries) -> None:
    plan = await queries.explain_instances(InstanceFilters(text="basic"))
    assert "Seq Scan on instances" not in plan, plan


async def test_counts_look_at_no_instance(queries: Queries) -> None:
    counts = await queries.count_by_status()
    assert sum(counts.values()) == INSTANCES
    assert counts["waiting"] == INSTANCES * 3 // 100
    plan = await queries._reader.explain(
        queries._sql["counts"], {"namespace": "default", "definition": None, "measures": ["status:waiting"]}
    )
    assert "definition_statistics" in plan
    assert "on instances" not in plan
