"""The tree's rows: written by one follower of the log, batch by batch, and read for proofs.

Head and tiles change in one transaction, so a tree is always that of its head's size. Everything here blocks, and runs
in threads of `notary.py`. A commit here need not be durable at once: what is lost is made again from the log.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, Cursor, sql

from notary.statements import load
from notary.tiles import Edge, Tile, node_of
from tenuto.audit.leaf import Row, leaf_of
from tenuto.audit.tree import HASH_BYTES, Node, range_root

BATCH_EVENTS = 2_000
MAX_BATCH_BYTES = 8 * 1024 * 1024
CONNECT_TIMEOUT = 5  # seconds
SETTINGS = "-c synchronous_commit=off -c timezone=UTC"


class Head(NamedTuple):
    """How far the tree is; `position` is that of its last event."""

    origin: str
    size: int
    position: int


class Ranked(NamedTuple):
    """An event, and its index (rank) in the tree; None where the tree does not reach."""

    row: Row
    rank: int | None


class Connected:
    """Connects when it is first used, and again after `close`."""

    def __init__(self, database: str, *, log: str, schema: str, name: str) -> None:
        self._database = database
        self._name = name
        self.schema = schema
        self._sql = load(notary=schema, log=sql.Identifier(log, "stored_events"))
        self._connection: Connection[Any] | None = None

    @property
    def connection(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._database,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT,
                options=SETTINGS,
                application_name=self._name,
            )
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor(binary=True) as cursor:
            return cursor.execute(self._sql[statement], parameters).fetchall()

    def head(self) -> Head:
        (row,) = self._rows("head")
        return Head(*row)

    def node(self) -> Node:
        """Of the tree as it stands; tiles are read once each."""
        tiles: dict[tuple[int, int], bytes] = {}

        def fetch(level: int, number: int) -> bytes:
            if (level, number) not in tiles:
                found = self._rows("tile", level=level, number=number)
                tiles[level, number] = found[0][1] if found else b""
            return tiles[level, number]

        return node_of(fetch)

    def root_at(self, size: int) -> bytes:
        """The root over the first events. Raises LookupError when tiles are missing."""
        return range_root(0, size, self.node())


class Ledger(Connected):
    """The one that lets the tree grow."""

    def __init__(self, database: str, *, log: str, schema: str, batch: int = BATCH_EVENTS) -> None:
        super().__init__(database, log=log, schema=schema, name="tenuto notary")
        self._batch = batch
        self._edge = Edge()
        self._position = 0

    def prepare(self, origin: str) -> Head:
        """Makes what is missing; a tree that is there keeps its origin."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self.schema,))
            if self._rows("schemas", schema=self.schema) == [(0,)]:
                cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self.schema)))
            cursor.execute(self._sql["create"])
            cursor.execute(self._sql["begin"], {"origin": origin})
        return self.head()

    def follow(self) -> int:
        """Takes the next batch of events into the tree; how many they were.

        psycopg's errors mean that nothing was kept, or all of it and nobody said so: the next call finds out."""
        with self.connection.transaction(), self.connection.cursor(binary=True) as cursor:
            size, position = cursor.execute(self._sql["lock"]).fetchall()[0]
            if (size, position) != (self._edge.size, self._position):
                self._edge, self._position = self._edge_at(cursor, size), position
            cursor.execute(
                self._sql["read"], {"after": position, "limit": self._batch, "bytes": MAX_BATCH_BYTES}
            )
            rows = cursor.fetchall()
            if rows:
                for row in rows:
                    self._edge.append(leaf_of(row), row[0])
                self._position = rows[-1][0]
                self._write(cursor, self._edge.written())
                cursor.execute(self._sql["move"], {"size": self._edge.size, "position": self._position})
        return len(rows)

    @property
    def size(self) -> int:
        return self._edge.size

    @property
    def position(self) -> int:
        return self._position

    @property
    def root(self) -> bytes:
        return self._edge.root

    def record(self, size: int, key: str, position: int, at: Any, note: str) -> None:
        """Keeps a checkpoint for readers."""
        with self.connection.cursor() as cursor:
            values = {"size": size, "key": key, "position": position, "at": at, "note": note}
            cursor.execute(self._sql["record"], values)

    def _write(self, cursor: Cursor[Any], tiles: list[Tile]) -> None:
        levels, numbers, positions, hashes = zip(*tiles, strict=True)
        values = {
            "levels": list(levels),
            "numbers": list(numbers),
            "positions": list(positions),
            "hashes": list(hashes),
        }
        cursor.execute(self._sql["write"], values)

    def _edge_at(self, cursor: Cursor[Any], size: int) -> Edge:
        """Raises LookupError when tiles are missing."""
        tiles = {}
        for level, number, count in Edge.unfinished(size):
            cursor.execute(self._sql["tile"], {"level": level, "number": number})
            found = cursor.fetchone()
            if found is None or len(found[1]) < count * HASH_BYTES:
                raise LookupError(f"tile {number} of level {level} has not {count} hashes")
            tiles[level] = Tile(level, number, found[0], found[1][: count * HASH_BYTES])
        return Edge(size, tiles)


class Reader(Connected):
    """For proofs, on a connection of its own."""

    def __init__(self, database: str, *, log: str, schema: str) -> None:
        super().__init__(database, log=log, schema=schema, name="tenuto proofs")

    def checkpoints(self, key: str, after: int, limit: int) -> list[tuple[Any, ...]]:
        """(size, position, at, note), oldest first."""
        return self._rows("checkpoints", key=key, after=after, limit=limit)

    def rows(self, after: int, limit: int) -> list[Row]:
        """Of the log, after a position; at most 8 MiB of payloads."""
        found = self._rows("read", after=after, limit=limit, bytes=MAX_BATCH_BYTES)
        return [Row(*row) for row in found]

    def ranked(
        self,
        *,
        position: int | None = None,
        stream: str | None = None,
        version: int | None = None,
        limit: int = 1,
    ) -> list[Ranked]:
        """Events by their place in the log, or by their stream, with their places in the tree."""
        size = self.head().size
        found = self._rows("ranked", position=position, stream=stream, version=version, limit=limit)
        return [Ranked(Row(*row), None if index is None or index >= size else index) for *row, index in found]
