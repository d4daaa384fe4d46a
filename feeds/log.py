"""The event log as its followers read it: in order, in bounded batches, each event with its time and origin.

`position > last ORDER BY position` misses nothing and is never early: appends are serialised, a position is seen when
its transaction has committed, and no gap is filled later. Payloads are passed on as they stand, also those of a newer
release. Only a command's first event says when it happened, so the time is carried forward (decision 0003).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from domain.errors import CorruptHistoryError
from feeds.messages import Message, Origin
from feeds.statements import load

BATCH_EVENTS = 250
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Of payloads; one event is always read, however large."""
KEPT_ORIGINS = 20_000

Row = tuple[int, str, int, str, bytes]


class _Envelope(msgspec.Struct):
    at: datetime | None = None


_envelope = msgspec.json.Decoder(_Envelope)


class Log:
    def __init__(self, pool: AsyncConnectionPool[Any], table: tuple[str, str]) -> None:
        """`table` is (schema, name)."""
        self._pool = pool
        self._sql = load("log", log=sql.Identifier(*table))
        self._origins: OrderedDict[str, Origin] = OrderedDict()

    async def head(self) -> int:
        """The position of the last event; 0 of an empty log."""
        ((head,),) = await self._ask("head")
        return int(head)

    async def read(self, after: int, limit: int = BATCH_EVENTS) -> list[Message]:
        """The events after a position. Raises psycopg's errors when the database cannot be reached."""
        rows = await self._ask("read", after=after, limit=limit, bytes=MAX_BATCH_BYTES)
        return await self._messages(rows)

    async def one(self, position: int) -> Message | None:
        messages = await self._messages(await self._ask("one", position=position))
        return messages[0] if messages else None

    async def _messages(self, rows: Sequence[Row]) -> list[Message]:
        if not rows:
            return []
        await self._learn(row[1] for row in rows)
        at: datetime | None = None
        messages = []
        for position, stream, version, topic, payload in rows:
            said = _at_of(position, topic, payload)
            if said is None and at is None:
                ((said,),) = await self._ask("time_before", position=position)
            at = said or at
            assert at is not None  # noqa: S101 - every log begins with a stimulus
            messages.append(Message(position, stream, version, topic, payload, at, self._origins[stream]))
        while len(self._origins) > KEPT_ORIGINS:
            self._origins.popitem(last=False)
        return messages

    async def _learn(self, streams: Iterable[str]) -> None:
        wanted = dict.fromkeys(streams)
        for known in wanted.keys() & self._origins.keys():
            self._origins.move_to_end(known)
        unknown = [stream for stream in wanted if stream not in self._origins]
        for stream, namespace, definition, labels in (
            await self._ask("origins", streams=unknown) if unknown else ()
        ):
            self._origins[stream] = Origin(namespace or "", definition, labels or {})

    async def _ask(self, statement: str, **parameters: Any) -> list[Any]:
        async with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(self._sql[statement], parameters)
            rows: list[Any] = await cursor.fetchall()
            return rows


def _at_of(position: int, topic: str, payload: bytes) -> datetime | None:
    try:
        return _envelope.decode(payload).at
    except msgspec.MsgspecError as error:
        problem = f"event {position}, {topic}: {error}"
        raise CorruptHistoryError(instance_id="?", version="?", problem=problem) from error
