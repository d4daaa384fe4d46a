"""A log, a schema for the views beside it, and a way to look at a table as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from projections.catalogue import PROJECTIONS
from projections.follower import Follower, Site
from projections.projection import Factory
from tests.projections.histories import Log

Lines = list[str]


@pytest.fixture
def log(database: str, schema: str) -> Log:
    return Log(database, schema)


@pytest.fixture
def views(database: str, schema: str) -> Iterator[str]:
    """The name of a schema that does not exist yet, dropped afterwards with those of rebuilds."""
    name = f"{schema}_views"
    yield name
    with psycopg.connect(database, autocommit=True) as connection:
        for each in (name, *(f"{name}_{projection}" for projection in PROJECTIONS)):
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(each)))


@pytest.fixture
def site(log: Log, views: str) -> Site:
    return Site(log.database, (log.schema, "stored_events"), views)


@pytest.fixture
def follower_of(site: Site) -> Iterator[Callable[..., Follower]]:
    """A prepared follower of a projection, by name or by factory, closed when the test ends."""
    opened: list[Follower] = []

    def follow(name: str, *, factory: Factory | None = None, **changes: object) -> Follower:
        follower = Follower(site._replace(**changes), factory or PROJECTIONS[name])  # type: ignore[arg-type]
        opened.append(follower)
        assert follower.prepare()
        return follower

    yield follow
    for follower in opened:
        follower.close()


@pytest.fixture
def lines(database: str) -> Callable[[str, str], Lines]:
    """Every row of a table as text, sorted."""

    def read(schema: str, table: str) -> Lines:
        query = sql.SQL("SELECT it::text FROM {} AS it").format(sql.Identifier(schema, table))
        with psycopg.connect(database) as connection:
            return sorted(line for (line,) in connection.execute(query).fetchall())

    return read
