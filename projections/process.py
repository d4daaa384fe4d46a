"""The projections in a process of their own, so that they take no turn of the interpreter that serves everybody.

`remote.py` starts it and speaks with it over stdin and stdout. It ends when its stdin does: with the server, however
that came to its end.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

from msgspec import Struct

from domain.errors import TenutoError
from projections.catalogue import PROJECTIONS
from projections.messages import (
    Begin,
    Reached,
    RebuildOne,
    Rebuilt,
    Refused,
    Told,
    WaitFor,
    Wake,
    line,
    read_asked,
)
from projections.runner import Progress, Runner

TELL_EVERY = 0.05
"""Seconds between two reports of how far they are, at least."""
LONGEST_LINE = 16 * 1024 * 1024

_log = logging.getLogger("tenuto.projections")


class RealClock:
    """Implements `projections.runner.Clock`."""

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def main() -> None:
    """What the process runs. Signals of a terminal go to the server, which then ends the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve())


async def _serve() -> None:
    lines = asyncio.StreamReader(limit=LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout.buffer)
    begin = read_asked(await lines.readline())
    assert isinstance(begin, Begin)  # noqa: S101 - the two ends are of one release
    logging.basicConfig(level=begin.level, stream=sys.stderr)
    runner = Runner(
        begin.database,
        log=begin.log,
        views=begin.views,
        clock=RealClock(),
        table=begin.table,
        published=begin.published,
        projections={name: PROJECTIONS[name] for name in begin.projections},
    )
    runner.start()
    try:
        await _Desk(runner, transport).run(lines)
    finally:
        await runner.stop()


class _Desk:
    """Takes what is asked, and answers when it is done."""

    def __init__(self, runner: Runner, transport: asyncio.WriteTransport) -> None:
        self._runner = runner
        self._transport = transport
        self._work: set[asyncio.Task[None]] = set()

    async def run(self, lines: asyncio.StreamReader) -> None:
        """Until the pipe ends."""
        self._begin(self._tell())
        while raw := await lines.readline():
            match read_asked(raw):
                case Wake():
                    self._runner.wake()
                case WaitFor() as asked:
                    self._begin(self._answer(asked.number, self._wait(asked)))
                case RebuildOne() as asked:
                    self._begin(self._answer(asked.number, self._rebuild(asked)))
                case Begin():
                    raise ValueError("it has begun")
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _tell(self) -> None:
        said: list[Progress] = []
        while True:
            status = self._runner.status()
            if status != said:
                self._say(Told(status))
                said = status
            await asyncio.sleep(TELL_EVERY)

    async def _wait(self, asked: WaitFor) -> Struct:
        return Reached(asked.number, await self._runner.wait_for(asked.position, asked.timeout, *asked.names))

    async def _rebuild(self, asked: RebuildOne) -> Struct:
        return Rebuilt(asked.number, await self._runner.rebuild(asked.name, swap=asked.swap))

    async def _answer(self, number: int, work: Coroutine[Any, Any, Struct]) -> None:
        try:
            answer = await work
        except TenutoError as refusal:
            answer = Refused(number, type(refusal).__name__, dict(refusal.details), str(refusal))
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked must hear of it
            _log.warning("a request to the projections failed", exc_info=error)
            answer = Refused(number, type(error).__name__, {}, " ".join(str(error).split()))
        self._say(answer)

    def _say(self, message: Struct) -> None:
        self._transport.write(line(message))
