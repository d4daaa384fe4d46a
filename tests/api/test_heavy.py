"""Work in processes of its own: polite, alive as long as the server, and replaced when it is killed."""

from __future__ import annotations

import os
import signal

import pytest

from api.errors import NotReadyError
from api.heavy import NICENESS, Heavy


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def test_work_is_done_elsewhere_and_politely() -> None:
    heavy = Heavy(1)
    try:
        assert await heavy.run(os.getpid) != os.getpid()
        assert await heavy.run(os.nice, 0) == min(19, os.nice(0) + NICENESS)
        with pytest.raises(ZeroDivisionError):
            await heavy.run(divmod, 1, 0)
    finally:
        heavy.close()


async def test_a_process_that_is_killed_is_said_and_replaced() -> None:
    heavy = Heavy(1)
    try:
        with pytest.raises(NotReadyError):
            await heavy.run(die)
        assert await heavy.run(divmod, 7, 2) == (3, 1)
    finally:
        heavy.close()
