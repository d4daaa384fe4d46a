"""What a fork has copied happened once: it counts, and is on record, for the instance that it happened to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from domain.moves import Forked, Origin
from projections.audit_queries import AuditEntry, AuditFilters, AuditQueries
from projections.follower import Follower
from tests.projections.histories import Command, Log, claimed, command, done, retried, scheduled, status

Follow = Callable[..., Follower]
Counts = dict[str, dict[str, int]]


def forked(copies: list[Command], second: float, *more: Any, of: str = "i1") -> list[Command]:
    """A history that begins with those of another one's commands."""
    origin = Origin(of, sum(map(len, copies)))
    return [
        *copies,
        command(second, Forked(origin=origin, delay_ms=1000), *more, actor="ada", reason="again"),
    ]


def shipped(second: float) -> list[Command]:
    return [
        command(second, claimed("ship#1")),
        command(
            second + 1,
            done("ship#1"),
            status("running", "completed", "all steps are done", outcome="succeeded"),
        ),
    ]


def at_the_shipping() -> list[Command]:
    """Of a fork that charges again, because that ran at its point; then it is to ship."""
    return [
        *forked(retried()[:2], 100, scheduled("charge#1", 2)),
        command(101, claimed("charge#1", 2)),
        command(102, done("charge#1", 2), scheduled("ship#1")),
    ]


STORIES: dict[str, tuple[dict[str, list[Command]], Counts]] = {
    "a fork does what is left": (
        {"i1": retried(), "i2": forked(retried()[:3], 200) + shipped(201)},
        {
            "charge": {"scheduled": 1, "completed": 1, "durations": 1},
            "ship": {"scheduled": 2, "completed": 2, "retried": 1, "durations": 2},
        },
    ),
    "a fork tries again what ran": (
        {"i1": retried(), "i2": at_the_shipping() + shipped(201)},
        {
            "charge": {"scheduled": 2, "completed": 2, "durations": 2},
            "ship": {"scheduled": 2, "completed": 2, "retried": 1, "durations": 2},
        },
    ),
    "a fork of a fork": (
        {
            "i1": retried(),
            "i2": at_the_shipping() + shipped(201),
            "i3": forked(at_the_shipping(), 300, of="i2") + shipped(301),
            "i4": forked(forked(at_the_shipping(), 300, of="i2"), 400, of="i3") + shipped(401),
        },
        {
            "charge": {"scheduled": 2, "completed": 2, "durations": 2},
            "ship": {"scheduled": 4, "completed": 4, "retried": 1, "durations": 4},
        },
    ),
}


@pytest.mark.parametrize("batch", [1, 2, 5, 250])
@pytest.mark.parametrize("story", STORIES)
def test_steps_are_counted_where_they_were_done(
    story: str, batch: int, log: Log, views: str, follower_of: Follow
) -> None:
    histories, expected = STORIES[story]
    log.append((name, told) for name, history in histories.items() for told in history)
    follower = follower_of("definition_statistics", batch=batch)
    while follower.advance() < log.end():
        pass
    found: Counts = {}
    query = sql.SQL("SELECT step, measure, count FROM {}").format(
        sql.Identifier(views, "definition_statistics")
    )
    with psycopg.connect(log.database) as connection:
        for step, measure, count in connection.execute(query).fetchall():
            name = "durations" if measure == "duration" else measure
            counts = found.setdefault(step, {})
            counts[name] = counts.get(name, 0) + count
    instances = found.pop("")
    steps = {step: {name: count for name, count in counts.items() if count} for step, counts in found.items()}
    assert steps == expected
    assert instances["started"] == instances["status:completed"] == instances["durations"] == len(histories)


@pytest.fixture
async def ask(log: Log, views: str, follower_of: Follow) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncConnectionPool(log.database, min_size=1, max_size=2, open=False) as pool:

        async def entries(batch: int, **filters: Any) -> list[AuditEntry]:
            follower = follower_of("audit", batch=batch)
            while follower.advance() < log.end():
                pass
            return (await AuditQueries(pool, views).entries(AuditFilters(**filters))).items

        yield entries


@pytest.mark.parametrize("batch", [1, 2, 5, 250])
async def test_the_audit_log_has_what_was_done_once(batch: int, log: Log, ask: Callable[..., Any]) -> None:
    histories, _ = STORIES["a fork of a fork"]
    log.append((name, told) for name, history in histories.items() for told in history)
    assert [one.instance_id for one in await ask(batch, actor="alice")] == ["i1", "i1"], "its start"
    own = await ask(batch, instance="i3")
    assert [one.event for one in own] == ["StatusChanged", "Forked"]
    assert own[1].detail == {"from": {"instanceId": "i2", "version": 10}}
    assert len(await ask(batch, kinds=["act"])) == 3
