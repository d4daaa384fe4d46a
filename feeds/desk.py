"""What delivery keeps for itself, in tables of its own: positions, leases, dead letters, secrets.

Everything but the secrets could be lost: delivery would begin again where each webhook was registered. One server holds
a webhook at a time, and every move of its position asks for that again, so a server that was frozen moves nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct
from psycopg import sql
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from feeds.statements import load

Row = TypeVar("Row")


class Held(Struct, frozen=True):
    """`attempts` were made for the event after `position`; the next one not before `next_attempt_at`."""

    position: int
    attempts: int
    next_attempt_at: datetime | None


class Progress(Struct, frozen=True):
    """Of one webhook. `holder` is the server that delivers for it."""

    webhook: str
    position: int
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    delivered_at: datetime | None
    holder: str | None
    dead_letters: int


class DeadLetter(Struct, frozen=True, rename="camel"):
    """An event that was given up: its position in the log, how often it was tried, and what came of it last."""

    position: int
    attempts: int
    error: str
    at: datetime


class Lost(Exception):  # noqa: N818 - no refusal: another server has taken over, and this one stops
    """The webhook is delivered by another server now."""


class Desk:
    def __init__(self, pool: AsyncConnectionPool[Any], schema: str) -> None:
        names = ("secrets", "deliveries", "dead_letters")
        tables = {name: sql.Identifier(schema, name) for name in names}
        self._pool = pool
        self._schema = schema
        self._sql = load("desk", feeds=sql.Identifier(schema), **tables)

    async def prepare(self) -> None:
        """Makes what is missing."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(self._sql["lock"], {"name": self._schema})
            if not await (await connection.execute(self._sql["made"], {"schema": self._schema})).fetchone():
                await connection.execute(self._sql["create"])

    async def keep_secret(self, id: str, secret: str) -> None:
        await self._do("keep_secret", id=id, secret=secret)

    async def secret(self, id: str) -> str | None:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(self._sql["secret"], {"id": id})).fetchone()
        return None if row is None else row[0]

    # Who delivers, and how far --------------------------------------------------------

    async def hold(
        self, webhook: str, since: int, begins_at: int, holder: str, *, now: datetime, until: datetime
    ) -> Held | None:
        """The webhook's place in the log; None while another server holds it."""
        await self._do("begin", webhook=webhook, since=since, position=begins_at)
        rows = await self._rows(
            Held, "hold", webhook=webhook, since=since, holder=holder, now=now, until=until
        )
        return rows[0] if rows else None

    async def let_go(self, webhook: str, holder: str) -> None:
        await self._do("let_go", webhook=webhook, holder=holder)

    async def move(self, statement: str, **parameters: Any) -> None:
        """`delivered`, `failed` or `bury`. Raises Lost."""
        if not await self._do(statement, **parameters):
            raise Lost

    async def status(self, webhooks: list[str]) -> dict[str, Progress]:
        return {row.webhook: row for row in await self._rows(Progress, "status", webhooks=webhooks)}

    # Dead letters ---------------------------------------------------------------------

    async def dead_letters(self, webhook: str, after: int, limit: int) -> list[DeadLetter]:
        return await self._rows(DeadLetter, "dead_letters", webhook=webhook, after=after, limit=limit)

    async def dead_letter(self, webhook: str, position: int) -> DeadLetter | None:
        rows = await self._rows(DeadLetter, "dead_letter", webhook=webhook, position=position)
        return rows[0] if rows else None

    async def redelivered(self, webhook: str, position: int) -> None:
        await self._do("redelivered", webhook=webhook, position=position)

    async def again_failed(self, webhook: str, position: int, error: str, at: datetime) -> None:
        await self._do("again_failed", webhook=webhook, position=position, error=error, at=at)

    async def forget(self, webhook: str) -> None:
        await self._do("forget", webhook=webhook)

    # Statements -----------------------------------------------------------------------

    async def _do(self, statement: str, **parameters: Any) -> int:
        """How many rows it touched."""
        async with self._pool.connection() as connection:
            done = await connection.execute(self._sql[statement], parameters)
            return int(done.rowcount)

    async def _rows(self, kind: type[Row], statement: str, **parameters: Any) -> list[Row]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(kind)) as c:
            await c.execute(self._sql[statement], parameters)
            rows: list[Row] = await c.fetchall()
            return rows
