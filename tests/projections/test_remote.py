"""The projections in a process of their own: the same calls and refusals, and it is started again when it is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import psutil
import pytest

from projections.process import RealClock
from projections.remote import ProjectionsAwayError, RemoteRunner
from projections.runner import Progress, UnknownProjectionError
from tests.projections.conftest import Lines
from tests.projections.histories import Log, happy

PATIENCE = 60  # seconds, until a test that hangs is given up


@pytest.fixture
async def runner(log: Log, views: str) -> AsyncIterator[RemoteRunner]:
    runner = RemoteRunner(log.database, log=log.schema, views=views, clock=RealClock())
    runner.start()
    async with asyncio.timeout(PATIENCE):
        await until(lambda: all(one.condition == "following" for one in runner.status()))
        yield runner
    await runner.stop()


async def until(holds: Callable[[], bool]) -> None:
    """Another process can only be looked at again and again."""
    while not holds():
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.005)


def pid_of(runner: RemoteRunner) -> int:
    assert runner._process is not None
    return runner._process.pid


async def test_a_reader_who_waits_for_a_position_finds_its_own_write(
    log: Log, views: str, runner: RemoteRunner, lines: Callable[[str, str], Lines]
) -> None:
    for number in range(5):
        position = log.append([(f"i{number}", happy()[0])])
        runner.wake()
        assert await runner.wait_for(position, 10)
        assert len(lines(views, "instances")) == number + 1
    await until(lambda: {one.position for one in runner.status()} == {log.end()})


async def test_a_position_that_never_comes_is_not_waited_for_longer_than_asked(runner: RemoteRunner) -> None:
    assert not await runner.wait_for(10**9, 0.01)


async def test_a_rebuild_is_answered_and_its_refusals_have_their_types(
    log: Log, runner: RemoteRunner
) -> None:
    assert await runner.wait_for(log.append([("i", event) for event in happy()]), 30)
    comparison = await runner.rebuild("instances")
    assert comparison.equal
    assert comparison.rebuilt == 1
    with pytest.raises(UnknownProjectionError, match="'wishes'"):
        await runner.rebuild("wishes")


async def test_killed_it_is_started_again_and_goes_on(log: Log, runner: RemoteRunner) -> None:
    before = pid_of(runner)
    psutil.Process(before).kill()
    with pytest.raises(ProjectionsAwayError):
        await runner.rebuild("instances")
    assert {one.condition for one in runner.status()} == {"starting"}
    await until(lambda: runner._process is not None and pid_of(runner) != before)
    position = log.append([("i", happy()[0])])
    assert await runner.wait_for(position, 30)


async def test_it_ends_with_the_pipe_so_no_server_leaves_it_behind(runner: RemoteRunner) -> None:
    process = psutil.Process(pid_of(runner))
    await runner.stop()
    assert not process.is_running()
    assert {one.condition for one in runner.status()} == {"starting"}


def test_what_it_says_before_it_has_spoken() -> None:
    runner = RemoteRunner("dbname=x", log="log", views="views", clock=RealClock())
    assert {type(one) for one in runner.status()} == {Progress}
    assert {one.condition for one in runner.status()} == {"starting"}
