"""The runner keeps up by hint and by polling, says how far it is, and gets up again. Time only moves when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest
from psycopg import sql

from projections.catalogue import PROJECTIONS
from projections.runner import BACK_OFF, POLL, Progress, Runner, UnknownProjectionError
from tests.projections.conftest import Lines
from tests.projections.histories import Log, happy, mixed

PATIENCE = 30  # seconds, until a test that hangs is given up


class ManualClock:
    """Sleepers wake when `pass_time` says so."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, sleeper))
        await sleeper

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
        for until, sleeper in self._sleepers:
            if until <= self._now and not sleeper.done():
                sleeper.set_result(None)
        self._sleepers = [(until, sleeper) for until, sleeper in self._sleepers if not sleeper.done()]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def runner(log: Log, views: str, clock: ManualClock) -> AsyncIterator[Runner]:
    """Not started yet."""
    runner = Runner(log.database, log=log.schema, views=views, clock=clock)
    async with asyncio.timeout(PATIENCE):
        yield runner
        await runner.stop()


async def until(holds: Callable[[], bool], nudge: Callable[[], None] = lambda: None) -> None:
    """Yields to the loop, real threads and a real database until it holds."""
    while not holds():
        nudge()
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)


def of(runner: Runner, name: str) -> Progress:
    return next(progress for progress in runner.status() if progress.name == name)


async def test_a_reader_who_waits_for_a_position_finds_its_own_write(
    log: Log, views: str, runner: Runner, lines: Callable[[str, str], Lines]
) -> None:
    runner.start()
    for number in range(20):
        position = log.append([(f"i{number}", happy()[0])])
        runner.wake()
        assert await runner.wait_for(position, 5)
        assert len(lines(views, "instances")) == number + 1
    assert {progress.condition for progress in runner.status()} == {"following"}
    assert {progress.position for progress in runner.status()} == {log.end()}


async def test_waiting_for_what_never_comes_ends_after_the_timeout(
    log: Log, runner: Runner, clock: ManualClock
) -> None:
    runner.start()
    waiting = asyncio.ensure_future(runner.wait_for(1_000_000, 5, "instances"))
    await until(waiting.done, lambda: clock.pass_time(0.5))
    assert waiting.result() is False
    with pytest.raises(UnknownProjectionError, match="nobody"):
        await runner.wait_for(1, 1, "nobody")


async def test_without_a_hint_polling_finds_what_was_written(
    log: Log, runner: Runner, clock: ManualClock
) -> None:
    runner.start()
    position = log.append([("i0", happy()[0])])
    assert await runner.wait_for(position, 5)
    later = log.append([("i1", happy()[0])])
    await until(lambda: of(runner, "instances").position == later, lambda: clock.pass_time(POLL))


async def test_it_catches_up_in_batches_and_says_how_far_behind_it_is(
    log: Log, views: str, clock: ManualClock
) -> None:
    end = log.append(mixed(24))
    runner = Runner(log.database, log=log.schema, views=views, clock=clock, batch=10)
    clock.pass_time(2)
    assert {(it.condition, it.lag_ms) for it in runner.status()} == {("starting", 2000)}
    seen: set[tuple[int, int]] = set()
    runner.start()

    def look() -> None:
        seen.update((it.position, it.lag_events) for it in runner.status() if it.condition == "following")

    async with asyncio.timeout(PATIENCE):
        await until(lambda: {it.position for it in runner.status()} == {end}, look)
        await runner.stop()
    assert any(0 < position < end and lag == end - position for position, lag in seen)
    assert {(it.lag_events, it.lag_ms) for it in runner.status()} == {(0, 0)}


async def test_an_event_it_cannot_read_stops_it_visibly_and_nothing_is_skipped(
    log: Log, views: str, runner: Runner, clock: ManualClock, lines: Callable[[str, str], Lines]
) -> None:
    before = log.append([("i0", happy()[0])])
    log.append_raw([("i0", 99, "StepTeleported", b"{}")])
    end = log.append([("i1", happy()[0])])
    runner.start()
    assert await runner.wait_for(end, 5) is False
    clock.pass_time(3)
    for progress in runner.status():
        assert (progress.condition, progress.position) == ("stopped", before)
        assert "StepTeleported" in (progress.problem or "")
        assert progress.lag_ms >= 3000
    await until(lambda: of(runner, "instances").lag_events == end - before, lambda: clock.pass_time(POLL))
    assert len(lines(views, "instances")) == 1


async def test_a_stopped_projection_leaves_the_others_alone_and_goes_on_after_a_rebuild(
    log: Log, views: str, database: str, runner: Runner
) -> None:
    story = happy()
    runner.start()
    assert await runner.wait_for(log.append([("i0", story[0])]), 5)
    with psycopg.connect(database) as connection:
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(views, "instances")))
    end = log.append([("i0", story[1]), ("i0", story[2])])
    runner.wake()
    assert await runner.wait_for(end, 5, "instances") is False
    assert await runner.wait_for(end, 5, "transitions", "step_executions")
    assert "never started" in (of(runner, "instances").problem or "")
    comparison = await runner.rebuild("instances")
    assert (comparison.live, comparison.rebuilt) == (0, 1)
    assert await runner.wait_for(end, 5)
    assert of(runner, "instances").condition == "following"


@pytest.mark.parametrize("name", PROJECTIONS)
async def test_a_check_by_rebuilding_finds_no_difference_and_changes_nothing(
    name: str, log: Log, views: str, runner: Runner, lines: Callable[[str, str], Lines]
) -> None:
    runner.start()
    assert await runner.wait_for(log.append(mixed(16)), 5)
    before = lines(views, name)
    comparison = await runner.rebuild(name, swap=False)
    assert comparison.equal
    assert comparison.position == log.end()
    assert comparison.rebuilt == len(before) == len(lines(views, name))
    assert not of(runner, name).rebuilding


async def test_it_gets_up_again_when_its_connections_are_cut(
    log: Log, database: str, runner: Runner, clock: ManualClock
) -> None:
    runner.start()
    assert await runner.wait_for(log.append([("i0", happy()[0])]), 5)
    with psycopg.connect(database, autocommit=True) as connection:
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'tenuto proj%' AND datname = current_database()"
        )
        assert len(connection.execute(query).fetchall()) == len(PROJECTIONS)
    runner.wake()
    await until(lambda: {it.condition for it in runner.status()} == {"disconnected"})
    assert all(progress.problem for progress in runner.status())
    position = log.append([("i1", happy()[0])])
    await until(
        lambda: {it.position for it in runner.status()} == {position}, lambda: clock.pass_time(BACK_OFF)
    )
    assert {(it.condition, it.problem) for it in runner.status()} == {("following", None)}


async def test_a_server_that_is_not_there_is_waited_for(log: Log, views: str, clock: ManualClock) -> None:
    runner = Runner("host=/nonexistent dbname=nothing", log=log.schema, views=views, clock=clock)
    runner.start()
    async with asyncio.timeout(PATIENCE):
        await until(lambda: {it.condition for it in runner.status()} == {"disconnected"})
        await runner.stop()


async def test_tables_of_another_release_are_rebuilt_when_it_starts(
    log: Log, views: str, database: str, clock: ManualClock, lines: Callable[[str, str], Lines]
) -> None:
    end = log.append(mixed(8))

    async def run(check: Callable[[Runner], Awaitable[object]]) -> None:
        runner = Runner(log.database, log=log.schema, views=views, clock=clock)
        runner.start()
        async with asyncio.timeout(PATIENCE):
            await check(runner)
            await runner.stop()

    await run(lambda runner: runner.wait_for(end, 5))
    expected = lines(views, "transitions")
    with psycopg.connect(database) as connection:
        table = sql.Identifier(views, "transitions")
        connection.execute(sql.SQL("ALTER TABLE {} DROP COLUMN actor").format(table))
        position = sql.Identifier(views, "positions")
        query = sql.SQL("UPDATE {} SET shape = 'older' WHERE projection = 'transitions'").format(position)
        connection.execute(query)
    later = log.append([("i9999", happy()[0])])
    await run(lambda runner: runner.wait_for(later, 5))
    assert set(expected) < set(lines(views, "transitions"))
