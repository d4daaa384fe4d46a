"""A log in a real PostgreSQL, and a notary of it whose clock stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.clock import ManualClock
from notary.notary import Notary, Place
from tests.projections.histories import Log

Make = Callable[..., Notary]


@pytest.fixture
def log(database: str, schema: str) -> Log:
    return Log(database, schema)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 23, 12, tzinfo=UTC))


@pytest.fixture
async def notary_of(database: str, schema: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Make]:
    """A notary of the log, not started; stopped when the test ends."""
    async with AsyncExitStack() as stack:

        def make(folder: str = "checkpoints", key: str = "signing.key", **more: Any) -> Notary:
            place = Place(tmp_path / folder, tmp_path / key)
            one = Notary(database, log=schema, schema=f"{schema}_notary", clock=clock, place=place, **more)
            stack.push_async_callback(one.stop)
            return one

        yield make
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema}_notary CASCADE".encode())


@pytest.fixture
def admin(database: str, schema: str) -> Any:
    """The superuser, who may do anything to the log."""
    with psycopg.connect(database, autocommit=True, options=f"-c search_path={schema}") as connection:
        yield connection


def told(log: Log, count: int, stream: str = "0-a") -> int:
    """Appends so many events of one stream; the position of the last."""
    first = log._versions.get(stream, 0)
    log._versions[stream] = first + count
    return log.append_raw(
        [(stream, first + n + 1, "StepCompleted", b'{"n":%d}' % (first + n)) for n in range(count)]
    )
