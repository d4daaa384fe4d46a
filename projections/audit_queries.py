"""The audit log, asked: by instance, actor, time, kind and request. Pages and cursors as in `queries.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from projections.audit import Audit, Kind
from projections.queries import (
    MAX_PAGE,
    Page,
    _by_position,
    _digest,
    _opened,
    _parameters,
    _sealed,
    _written,
)
from projections.statements import load


class AuditFilters(Struct, frozen=True, kw_only=True):
    """All that are given must hold; of `kinds` any one."""

    namespace: str = "default"
    instance: str | None = None
    definition: str | None = None
    actor: str | None = None
    kinds: Sequence[Kind] = ()
    request_id: str | None = None
    at_after: datetime | None = None
    at_before: datetime | None = None


class AuditEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """One thing that was done, or that followed. `position` is its place in the log, `version` in its stream."""

    position: int
    namespace: str
    kind: Kind
    event: str
    instance_id: str | None
    definition: str
    version: int
    actor: str | None
    reason: str | None
    request_id: str | None
    timestamp: str
    detail: dict[str, Any]


class AuditQueries:
    """The audit log of one shard's views."""

    def __init__(self, pool: AsyncConnectionPool[Any], views: str) -> None:
        self._pool = pool
        self._sql = load("audit_queries", views=views, log=sql.Identifier(views, "positions"))

    async def entries(
        self, filters: AuditFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """Newest first; `limit` is cut to 1…1,000. Raises BadCursorError."""
        question = _digest("audit", filters)
        size = max(1, min(limit, MAX_PAGE))
        asked = {
            **_parameters(filters),
            "after_position": _opened(cursor, question, _by_position) if cursor else None,
            "limit": size + 1,
        }
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as rows:
            await rows.execute(self._sql["position"], {"projection": Audit.name})
            place = await rows.fetchone()
            # Planned anew each time: which filters are given decides which index serves.
            await rows.execute(self._sql["audit"], asked, prepare=False)
            found = await rows.fetchall()
        last = _sealed(question, found[size - 1]["position"]) if len(found) > size else None
        return Page([_entry(row) for row in found[:size]], last, place["position"] if place else 0)


def _entry(row: dict[str, Any]) -> AuditEntry:
    row = _written(row)
    return AuditEntry(instance_id=row.pop("instance"), timestamp=row.pop("at"), **row)
