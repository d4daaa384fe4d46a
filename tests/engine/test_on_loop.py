"""Blocking database code on the event loop: the loop goes on, errors arrive, and a cancellation leaves nothing open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import psycopg
import pytest

from engine.store import on_loop
from engine.store.connections import Connections

LOCK = "SELECT pg_advisory_lock(7)"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"


@pytest.fixture
def connections(database: str) -> Iterator[Connections]:
    connections = Connections(database, "public")
    yield connections
    connections.close()


@pytest.fixture
def holder(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as holder:
        holder.execute(LOCK)
        yield holder


async def until_somebody_waits(holder: psycopg.Connection[Any]) -> None:
    while holder.execute(WAITING).fetchone() != (1,):  # noqa: ASYNC110 - PostgreSQL tells nobody
        await asyncio.sleep(0)


async def test_the_loop_goes_on_while_a_statement_waits(
    connections: Connections, holder: psycopg.Connection[Any]
) -> None:
    def lock() -> str:
        with connections.get_connection() as connection:
            connection.execute(LOCK)
            return "mine"

    locking = asyncio.ensure_future(on_loop.run(lock))
    await until_somebody_waits(holder)
    assert not locking.done()
    holder.execute("SELECT pg_advisory_unlock(7)")
    assert await locking == "mine"


async def test_a_cancelled_statement_takes_its_connection_along(
    connections: Connections, holder: psycopg.Connection[Any]
) -> None:
    used = []

    def lock() -> None:
        with connections.get_connection() as connection:
            used.append(connection)
            connection.execute(LOCK)

    locking = asyncio.ensure_future(on_loop.run(lock))
    await until_somebody_waits(holder)
    locking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await locking
    assert [connection.closed for connection in used] == [True]
    with connections.get_connection() as fresh:
        assert fresh not in used


async def test_what_is_raised_arrives_as_it_was(connections: Connections) -> None:
    def divide() -> None:
        with connections.get_connection() as connection:
            connection.execute("SELECT 1/0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        await on_loop.run(divide)
    assert not on_loop.is_here()


async def test_many_at_once_do_not_mix_their_answers(connections: Connections) -> None:
    def ask(number: int) -> object:
        with connections.get_connection() as connection:
            return (connection.execute("SELECT %s::int AS n", (number,)).fetchone() or {})["n"]

    assert await asyncio.gather(*(on_loop.run(partial(ask, n)) for n in range(8))) == list(range(8))
