"""Pages of rows, cut by key: cursors, and the connection that they are read through.

A cursor is what the last row was and a digest of the question: opaque, and refused by any other question. Reads never
lock and never wait for a projection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from domain.errors import TenutoError
from domain.times import rfc3339
from projections.statements import load

MAX_PAGE = 1000

Item = TypeVar("Item")


class BadCursorError(TenutoError):
    """The cursor cannot be used: {problem}. Ask for the first page again, without a cursor."""


class Page(Struct, Generic[Item], frozen=True):
    """`next` continues the list, None at its end; the items are at least as new as `position` of the log."""

    items: list[Item]
    next: str | None
    position: int


class Reader:
    """Reads the tables in one schema, each with the position of its projection."""

    def __init__(self, pool: AsyncConnectionPool[Any], views: str) -> None:
        self._pool = pool
        self._sql = load("pages", views=views, log=sql.Identifier(views, "positions"))

    async def page(
        self, projection: str, statement: sql.Composed, parameters: Mapping[str, Any], limit: int
    ) -> tuple[int, list[dict[str, Any]], bool]:
        """One row more than asked for says whether there is a next page."""
        size = max(1, min(limit, MAX_PAGE))
        position, rows = await self.rows(projection, statement, {**parameters, "limit": size + 1})
        return position, rows[:size], len(rows) > size

    async def rows(
        self, projection: str, statement: sql.Composed, parameters: Mapping[str, Any]
    ) -> tuple[int, list[dict[str, Any]]]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(self._sql["position"], {"projection": projection})
            place = await cursor.fetchone()
            # Planned anew each time: which filters are given decides which index serves.
            await cursor.execute(statement, parameters, prepare=False)
            return place["position"] if place else 0, await cursor.fetchall()

    async def explain(self, statement: sql.Composed, parameters: Mapping[str, Any]) -> str:
        async with self._pool.connection() as connection:
            plan = await connection.execute(
                sql.Composed([sql.SQL("EXPLAIN "), statement]), parameters, prepare=False
            )
            return "\n".join(line for (line,) in await plan.fetchall())


def digest(subject: str, filters: Struct) -> str:
    asked = msgspec.json.encode([subject, filters], order="deterministic")
    return hashlib.sha256(asked).hexdigest()[:16]


def sealed(question: str, key: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([question, key])).decode().rstrip("=")


def opened(cursor: str, question: str, decode: Callable[[bytes], tuple[str, Item]]) -> Item:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        asked, key = decode(raw)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise BadCursorError(problem="it is none of ours") from error
    if asked != question:
        raise BadCursorError(problem="it continues another question than this one")
    return key


Time = Annotated[datetime, Meta(tz=True)]
Position = Annotated[int, Meta(ge=0, le=2**63 - 1)]
by_position = msgspec.json.Decoder(tuple[str, Position]).decode


def named(filters: Struct) -> dict[str, Any]:
    """By name; what was not given is None."""
    given = {name: clean(getattr(filters, name)) for name in filters.__struct_fields__}
    return {name: None if value == [] else value for name, value in given.items()}


def clean(value: Any) -> Any:
    """NUL is stored as U+FFFD (see `projections/log.py`), so it is looked for as such."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {clean(name): clean(inner) for name, inner in value.items()}
    return [clean(inner) for inner in value] if isinstance(value, Sequence) else value


def written(row: dict[str, Any]) -> dict[str, Any]:
    """Its times as RFC 3339."""
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in row.items()}
