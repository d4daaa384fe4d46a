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

from domain.happened import Stimulus
from projections import log, statements
from projections.catalogue import PROJECTIONS
from projections.follower import CONNECT_TIMEOUT, SETTINGS, Site
from projections.log import BATCH_EVENTS
from projections.projection import Factory


class Rows(Struct, frozen=True, kw_only=True, rename="camel"):
    """`rows` are live; `sample`: lines like those of a diff, ten at most: what is there (-), what should be (+)."""

    projection: str
    position: int
    rows: int
    sample: list[str]

    @property
    def equal(self) -> bool:
        return not self.sample


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
    cursor.execute(projection.statements["create"])
    after, stimulus = 0, None
    while after < position[0]:
        after, stimulus, more = _apply(cursor, projection, ours, after, position[0], stimulus)
        if not more:
            break
    rows, sample = _one(cursor, ours["compare"]) or (0, [])
    return Rows(projection=name, position=position[0], rows=rows, sample=sample)


def _apply(
    cursor: Cursor[Any],
    projection: Any,
    ours: statements.Statements,
    after: int,
    upto: int,
    stimulus: Stimulus | None,
) -> tuple[int, Stimulus | None, bool]:
    """One batch: where it ends, the stimulus that goes on, and whether there may be more."""
    batch = log.read(
        cursor, ours, projection.wanted, after=after, upto=upto, limit=BATCH_EVENTS, stimulus=stimulus
    )
    if batch.problem is not None:
        raise batch.problem
    if batch.events:
        projection.apply(cursor, batch.events)
    return batch.position, batch.stimulus, bool(batch.events)


_COLUMN = sql.SQL(
    "SELECT column_name FROM information_schema.columns WHERE table_schema = %(views)s"
    " AND table_name = %(projection)s AND column_name IN ('instance', 'id') ORDER BY column_name DESC LIMIT 1"
)


def _one(
    cursor: Cursor[Any], query: sql.Composed | sql.SQL, parameters: Mapping[str, Any] | None = None
) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = cursor.execute(query, parameters).fetchone()
    return row
