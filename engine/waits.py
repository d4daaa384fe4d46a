"""Waiting for something, but not for ever, and by the engine's clock: so tests and simulations rule over it too."""

from __future__ import annotations

import asyncio
from typing import Any

from engine.ports import Clock


async def within(clock: Clock, seconds: float, wanted: asyncio.Future[Any] | asyncio.Event) -> None:
    """Returns when it has come, or when so many seconds have passed. A future is not cancelled by giving it up."""
    if isinstance(wanted, asyncio.Future):
        await clock.wait(wanted, seconds)
        return
    waiting = asyncio.ensure_future(wanted.wait())
    try:
        await clock.wait(waiting, seconds)
    finally:
        waiting.cancel()


async def by_sleeping(clock: Clock, wanted: asyncio.Future[Any], seconds: float) -> None:
    """How a clock waits that rules over its own time: whoever lets it pass wakes who sleeps."""
    nap = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({wanted, nap}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        nap.cancel()
