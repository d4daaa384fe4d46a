"""Waiting for the first of several things, by the injected clock: tests rule over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime
from typing import Any, Protocol


class Clock(Protocol):
    """Of `engine.ports.Clock`, what is needed here."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def entropy(self) -> float: ...

    def new_id(self) -> str: ...


async def first_of(*wanted: Awaitable[Any]) -> None:
    """Returns when one of them is done; the others are cancelled. A future that is handed in is only looked at."""
    tasks = [asyncio.ensure_future(_watched(one)) for one in wanted]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watched(one: Awaitable[Any]) -> None:
    await (asyncio.shield(one) if isinstance(one, asyncio.Future) else one)
