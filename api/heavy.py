"""Work that takes seconds of a core, in processes of their own: the server's loop goes on, and they are nice to it.

Started when first needed, ended with the server. What they are given and give back is pickled, so it is plain data.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

from api.errors import NotReadyError

MAX_PROCESSES = 4
NICENESS = 10
"""They take what the others leave: on a busy machine a check is slower, and no workflow is."""

P = ParamSpec("P")
T = TypeVar("T")


class Heavy:
    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes or min(MAX_PROCESSES, os.cpu_count() or 1)
        self._pool: ProcessPoolExecutor | None = None

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function of some module. Raises what it raises, and NotReadyError when its process was killed."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_settle,
            )
        try:
            return await asyncio.wrap_future(self._pool.submit(work, *args, **kwargs))
        except BrokenProcessPool as broken:
            self.close()
            raise NotReadyError(problem="a process that did the work was killed; ask again.") from broken

    def close(self) -> None:
        """What has not begun is not begun."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _settle() -> None:
    """Nice, deaf to the terminal's Ctrl-C (the server ends it), and gone when the server is."""
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - it runs in a pool's process only
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
