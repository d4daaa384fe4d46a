"""The PostgreSQL that is measured: fresh databases in it, its processes, how much it has written."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
from msgspec import Struct
from psycopg import sql

STATISTICS_WITHIN_S = 1.2
"""PostgreSQL's backends report what they have counted at most a second late."""


class Written(Struct, frozen=True):
    """Bytes and full-page images since the server was made."""

    wal_bytes: int
    page_images: int


class Size(Struct, frozen=True):
    """Bytes on disk of the tables of one schema, and of their indexes."""

    tables: int
    indexes: int


@contextlib.contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """The URI of an empty database, dropped afterwards. It begins after a checkpoint."""
    name = f"bench_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        connection.execute("CHECKPOINT")
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def postmaster(server: str) -> int:
    """Its process id; the server must run on this machine."""
    with psycopg.connect(server) as connection:
        return psutil.Process(connection.info.backend_pid).ppid()


def settings(server: str) -> dict[str, str]:
    """What figures depend on."""
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_compression")
    with psycopg.connect(server) as connection:
        return {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in names}  # type: ignore[index]


def written(server: str, *, new_images: bool = False) -> Written:
    """So far. With `new_images` a checkpoint comes first: every page is then written whole once more."""
    with psycopg.connect(server, autocommit=True) as connection:
        if new_images:
            connection.execute("CHECKPOINT")
        time.sleep(STATISTICS_WITHIN_S)
        query = "SELECT pg_current_wal_lsn() - '0/0', wal_fpi FROM pg_stat_wal"
        row = connection.execute(query).fetchone()
        assert row is not None
        return Written(int(row[0]), int(row[1]))


def wal_by_application(database: str) -> dict[str, int]:
    """Bytes of WAL that the connections open now have written; empty before PostgreSQL 18, which counts them."""
    query = """
        SELECT application_name, sum(wal_bytes)::bigint
        FROM pg_stat_activity, LATERAL pg_stat_get_backend_wal(pid)
        WHERE datname = current_database() AND wal_bytes IS NOT NULL GROUP BY 1
    """
    with psycopg.connect(database, autocommit=True) as connection:
        if connection.info.server_version < 180_000:
            return {}
        time.sleep(STATISTICS_WITHIN_S)
        return {name: int(written) for name, written in connection.execute(query)}


def sizes(database: str) -> dict[str, Size]:
    """By schema, without PostgreSQL's own."""
    query = """
        SELECT nspname, sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid))
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')
        GROUP BY nspname ORDER BY nspname
    """
    with psycopg.connect(database) as connection:
        return {name: Size(int(tables), int(indexes)) for name, tables, indexes in connection.execute(query)}


def appends(database: str, log: str = "tenuto_0") -> tuple[int, int]:
    """(events, transactions that appended them)."""
    query = sql.SQL("SELECT count(*), count(DISTINCT xmin::text) FROM {}").format(
        sql.Identifier(log, "stored_events")
    )
    with psycopg.connect(database) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def commit_ms(database: str, commits: int = 100) -> float:
    """The median time of a transaction that inserts one row, alone: what this disk asks for durability."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare_commits (number int)")
        took = []
        for number in range(commits):
            began = time.perf_counter()
            connection.execute("INSERT INTO bare_commits VALUES (%s)", (number,), prepare=True)
            took.append(time.perf_counter() - began)
        connection.execute("DROP TABLE bare_commits")
    return sorted(took)[commits // 2] * 1000
