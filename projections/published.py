"""The schema `tenuto_v1`: views over the projections and the log, which anyone may read by SQL. Public: only added to.

A view stands on tables by their identity, so a rebuilt table is put under the views before it takes the old one's
place (`projections/rebuilding.py`). They are replaced, never dropped: grants and views of others on them stay. Refuses
to know what is in them: that is `published.sql`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from psycopg import Cursor, sql

from projections import statements

TABLES = (
    "instances",
    "step_executions",
    "transitions",
    "queues",
    "deadlines",
    "alerts",
    "definition_statistics",
    "audit",
)
"""The projections that the views stand on."""
DIGEST = hashlib.sha256(statements.source("published").encode()).hexdigest()[:16]
"""Said in the schema's comment, so that views are made again only when this release has others."""


def publish(
    cursor: Cursor[Any],
    *,
    schema: str,
    views: str,
    log: tuple[str, str],
    moved: Mapping[str, str] | None = None,
) -> None:
    """Makes the views, or makes them anew; does nothing as long as a table is missing.

    `moved` says which tables stand in another schema than `views` for now.
    """
    tables = {name: sql.Identifier((moved or {}).get(name, views), name) for name in TABLES}
    found = _statements(schema, views, log, tables)
    (complete, current) = cursor.execute(
        found["look"], {"tables": list(TABLES), "views": views, "moved": list(moved or {}), "v1": schema}
    ).fetchone() or (False, None)
    if not complete or (current == DIGEST and not moved):
        return
    for name, statement in found.items():
        if name != "look":
            cursor.execute(statement)
    cursor.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), sql.Literal(DIGEST)))


def _statements(
    schema: str, views: str, log: tuple[str, str], tables: Mapping[str, sql.Identifier]
) -> statements.Statements:
    return statements.load(
        "published",
        views=views,
        log=sql.Identifier(*log),
        owed=sql.Identifier(log[0], "owed"),
        v1=sql.Identifier(schema),
        **tables,
    )
