"""This server's end of the projections that run in a process of their own (`process.py`): the same calls as `Runner`.

The process is started again when it ends; until it speaks, everything is `starting`. What it says of itself is at most
a moment old (`process.TELL_EVERY`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from domain.errors import TenutoError
from projections.catalogue import PROJECTIONS
from projections.messages import (
    Answered,
    Begin,
    Reached,
    RebuildOne,
    Rebuilt,
    Refused,
    Told,
    WaitFor,
    Wake,
    line,
    read_answered,
)
from projections.process import LONGEST_LINE
from projections.rebuilding import Comparison
from projections.runner import BACK_OFF, Clock, Progress

WAKE_AFTER = 0.02
"""Seconds that a hint may wait for others to go with."""
END_WITHIN = 10.0
"""Seconds that a stop waits for the batches under way."""
SERVER = Path(__file__).parents[1]
"""Where the server's packages stand, which are not on everybody's path."""

log = logging.getLogger("tenuto.projections")

Answer = TypeVar("Answer", Reached, Rebuilt)
_WAKE = line(Wake())


class ProjectionsAwayError(TenutoError):
    """The projections cannot answer: {problem}."""


class RemoteRunner:
    """The projections of one shard, as `Runner`, but elsewhere."""

    def __init__(
        self,
        database: str,
        *,
        log: str,
        views: str,
        clock: Clock,
        table: str = "stored_events",
        published: str | None = None,
        projections: Iterable[str] = PROJECTIONS,
    ) -> None:
        self._begin = Begin(
            database=database,
            log=log,
            views=views,
            table=table,
            published=published,
            level=logging.getLogger().getEffectiveLevel(),
            projections=list(projections),
        )
        self._clock = clock
        self._progress = [_starting(name) for name in self._begin.projections]
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Answered]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._stopping = False

    def start(self) -> None:
        """Begins to follow, in a process of its own."""
        self._keeping = asyncio.create_task(self._keep(), name="projections")

    async def stop(self) -> None:
        """Lets every batch under way end."""
        self._stopping = True
        if self._waking is not None:
            self._waking.cancel()
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                async with asyncio.timeout(END_WITHIN):
                    await process.wait()
            except TimeoutError:
                log.warning("the projections took too long to stop: what is under way is undone")
                process.kill()
        if self._keeping is not None:
            if process is None:
                self._keeping.cancel()
            await asyncio.wait([self._keeping])

    def wake(self) -> None:
        """A hint that the log has grown. Cheap; call it after every commit: several of them are one."""
        if self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(WAKE_AFTER, self._wake)

    def _wake(self) -> None:
        self._waking = None
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(_WAKE)

    def status(self) -> list[Progress]:
        """How far every projection is, as it last said."""
        return self._progress

    async def wait_for(self, position: int, timeout: float, *names: str) -> bool:  # noqa: ASYNC109 - as `Runner`
        """Waits until these projections (all, if none is named) have applied `position`; False when they have not."""
        number = next(self._numbers)
        try:
            asked = WaitFor(number=number, position=position, timeout=timeout, names=list(names))
            return (await self._ask(number, asked, Reached)).reached
        except ProjectionsAwayError:
            return False

    async def rebuild(self, name: str, *, swap: bool = True) -> Comparison:
        """As `Runner.rebuild`; raises ProjectionsAwayError, too."""
        number = next(self._numbers)
        return (await self._ask(number, RebuildOne(number=number, name=name, swap=swap), Rebuilt)).comparison

    # The process -----------------------------------------------------------------

    async def _keep(self) -> None:
        while not self._stopping:
            await self._run_once()
            if not self._stopping:
                log.error("the process of the projections has ended; it is started again")
                await self._clock.sleep(BACK_OFF)

    async def _run_once(self) -> None:
        path = os.pathsep.join(filter(None, [str(SERVER), os.environ.get("PYTHONPATH")]))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-c",
            "from projections.process import main; main()",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            limit=LONGEST_LINE,
        )
        assert process.stdin is not None  # noqa: S101 - it was asked for
        process.stdin.write(line(self._begin))
        self._process = process
        try:
            if self._stopping:
                process.stdin.close()
            await self._listen(process)
        finally:
            self._process = None
            self._progress = [replace(one, condition="starting") for one in self._progress]
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(ProjectionsAwayError(problem="their process has ended"))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - as above
        while raw := await process.stdout.readline():
            answer = read_answered(raw)
            if isinstance(answer, Told):
                self._progress = answer.progress
            elif (future := self._asked.get(answer.number)) is not None and not future.done():
                future.set_result(answer)
        await process.wait()

    async def _ask(self, number: int, asked: Struct, kind: type[Answer]) -> Answer:
        process = self._process
        if process is None or process.stdin is None:
            raise ProjectionsAwayError(problem="their process is being started")
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            process.stdin.write(line(asked))
            answer = await future
        finally:
            del self._asked[number]
        if isinstance(answer, Refused):
            raise _error_of(answer)
        assert isinstance(answer, kind)  # noqa: S101 - the two ends are of one release
        return answer


def _starting(name: str) -> Progress:
    return Progress(
        name=name, condition="starting", position=0, lag_events=0, lag_ms=0, rebuilding=False, problem=None
    )


def _error_of(refused: Refused) -> TenutoError:
    """The same refusal here, if it has a type of ours."""
    for kind in _refusals(TenutoError):
        if kind.__name__ == refused.kind:
            return kind(**refused.details)
    return ProjectionsAwayError(problem=f"{refused.kind}: {refused.problem}")


def _refusals(kind: type[TenutoError]) -> Iterator[type[TenutoError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _refusals(one)
