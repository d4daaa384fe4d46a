"""The audit log, asked: by instance, actor, time, kind and request. Next: `pages.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from projections.audit import Audit, Kind
from projections.pages import Page, Reader, by_position, digest, named, opened, sealed, written
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
    definition: str | None
    version: int
    actor: str | None
    reason: str | None
    request_id: str | None
    timestamp: str
    detail: dict[str, Any]


class AuditQueries:
    """The audit log of one shard's views."""

    def __init__(self, pool: AsyncConnectionPool[Any], views: str) -> None:
        self._reader = Reader(pool, views)
        self._sql = load("audit_queries", views=views, log=sql.Identifier(views, "positions"))

    async def entries(
        self, filters: AuditFilters, *, limit: int = 100, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """Newest first; `limit` is cut to 1…1,000. Raises BadCursorError."""
        question = digest("audit", filters)
        after = opened(cursor, question, by_position) if cursor else None
        asked = {**named(filters), "after_position": after}
        position, found, more = await self._reader.page(Audit.name, self._sql["audit"], asked, limit)
        return Page(
            [_entry(row) for row in found],
            sealed(question, found[-1]["position"]) if more else None,
            position,
        )


def _entry(row: dict[str, Any]) -> AuditEntry:
    row = written(row)
    return AuditEntry(instance_id=row.pop("instance"), timestamp=row.pop("at"), **row)
