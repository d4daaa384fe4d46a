"""Whether the rows of a projection are what the log says, for a few instances: made again beside them, and compared.

The rows are made in a schema that nobody else sees, in a transaction that is rolled back: nothing stays. Live rows and
position are those of one snapshot, so the projection goes on meanwhile. For the whole table: `rebuilding.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import Cursor, sql

from domain.errors import TenutoError
from projections import log, statements
from projections.catalogue import PROJECTIONS
from projections.follower import CONNECT_TIMEOUT, SETTINGS, Site
from projections.log import BATCH_EVENTS
from projections.projection import Factory, Projection


class Rows(Struct, frozen=True, kw_only=True, rename="camel"):
    """`rows` are live; `sample`: lines like those of a diff, ten at most: what is there (-), what should be (+)."""

    projection: str
    position: int
    rows: int
    sample: list[str]
    problem: str | None = None  # Why the rows could not be made again.

    @property
    def equal(self) -> bool:
        return not self.sample and self.problem is None


def check_rows(
    database: str,
    log_table: tuple[str, str],
    views: str,
    instances: Sequence[str],
    projections: Mapping[str, Factory] = PROJECTIONS,
) -> list[Rows]:
    """Of every projection whose rows are those of single instances."""
    site = Site(database, log_table, views)
    with psycopg.connect(database, connect_timeout=CONNECT_TIMEOUT, options=SETTINGS) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        found = []
        for name, factory in projections.items():
            with connection.cursor(binary=True) as cursor:
                one = _check(cursor, site, name, factory, list(instances))
            connection.rollback()
            found += [] if one is None else [one]
        return found


def _check(cursor: Cursor[Any], site: Site, name: str, factory: Factory, instances: list[str]) -> Rows | None:
    table = sql.Identifier(*site.log)
    shadow = f"{site.views}_check_{cursor.connection.info.backend_pid}"
    column = _one(cursor, _COLUMN, {"views": site.views, "projection": name})
    if column is None:
        return None
    ours = statements.load(
        "checking",
        views=site.views,
        log=table,
        live=sql.Identifier(site.views, name),
        again=sql.Identifier(shadow, name),
        column=sql.Identifier(column[0]),
        instances=sql.Literal(instances),
    )
    position = _one(cursor, ours["position"], {"projection": name})
    if position is None:
        return None
    projection = factory(shadow, table)
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(shadow)))
    cursor.connection.execute(projection.statements["create"])  # Several: a binary cursor takes one.
    try:
        _make(cursor, projection, ours, position[0])
    except TenutoError as error:
        return Rows(projection=name, position=position[0], rows=0, sample=[], problem=str(error))
    rows, sample = _one(cursor, ours["compare"]) or (0, [])
    return Rows(projection=name, position=position[0], rows=rows, sample=sample)


def _make(cursor: Cursor[Any], projection: Projection, ours: statements.Statements, upto: int) -> None:
    """Applies the instances' events, batch by batch. Raises UnreadableEventError, CorruptHistoryError."""
    after, stimulus = 0, None
    while True:
        batch = log.read(
            cursor, ours, projection.wanted, after=after, upto=upto, limit=BATCH_EVENTS, stimulus=stimulus
        )
        if batch.problem is not None:
            raise batch.problem
        if not batch.events:
            return
        projection.apply(cursor, batch.events)
        after, stimulus = batch.position, batch.stimulus


_COLUMN = sql.SQL(
    "SELECT column_name FROM information_schema.columns WHERE table_schema = %(views)s"
    " AND table_name = %(projection)s AND column_name IN ('instance', 'id') ORDER BY column_name DESC LIMIT 1"
)


def _one(
    cursor: Cursor[Any], query: sql.Composed | sql.SQL, parameters: Mapping[str, Any] | None = None
) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = cursor.execute(query, parameters).fetchone()
    return row
